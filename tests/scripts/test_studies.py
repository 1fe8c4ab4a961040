"""The studies of alignment, through their script and by values worked out here."""

import json
import math
import re
from fractions import Fraction

import numpy as np
import pytest
import torch
from conftest import ENVIRONMENT, FORKS, ROOT, unit_rows, write_store
from scipy.linalg import sqrtm

from revision_plugin.aligners import ConnectCollapseCorrupt
from revision_plugin.embeddings.rows import ArrayRows, ChosenRows
from revision_plugin.embeddings.store import Store
from revision_plugin.errors import RevisionError
from scripts.studies import centroids, held_out, measurements, rounding, spectra

DIM = 16


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    """Two domains of texts and images, float64 differences large enough to tell apart."""
    root, rng = tmp_path_factory.mktemp("studies"), np.random.default_rng(4)
    for name, shift, gap in (("general", 0.4, 0.5), ("medical", -0.9, -0.5)):
        write_store(root / f"{name}-texts", unit_rows(rng, 1500, DIM, shift))
        write_store(root / f"{name}-images", unit_rows(rng, 1200, DIM, shift + gap), modality="image")
    return root


def study(name, stores, sources, targets, out, *flags, expect=0):
    command = ["-m", "scripts.studies", name, "--source", *(stores / s for s in sources)]
    command += ["--target", *(stores / t for t in targets), "--out", out, *flags]
    done = FORKS.run(command, environment=ENVIRONMENT, cwd=ROOT)
    assert done.returncode == expect, done.stderr[-2000:]
    if expect:
        assert len([line for line in done.stderr.splitlines() if line.startswith("error: ")]) == 1
        assert "Traceback" not in done.stderr
        return done.stderr.strip().splitlines()[-1]
    file = out / f"{name.replace('-', '_')}.json"
    record = json.loads(file.read_text())
    assert json.loads(done.stdout) == record
    assert file.with_suffix(".png").stat().st_size > 5000 and file.with_suffix(".svg").exists()
    return record


ONE = (["general-texts"], ["general-images"])


def opened(stores, *names):
    return [Store.open(stores / name) for name in names]


def all_rows(store):
    rows = store.take(np.arange(len(store))).astype(np.float64)
    return unit(rows)


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def realigned(fitted, images, rows):
    """Equations 21 to 24 of ReVision in numpy."""
    source, target = fitted.mean(0), images.mean(0)
    scale = np.sqrt(np.square(images - target).sum(1).mean() / np.square(fitted - source).sum(1).mean())

    def projected(x):
        return unit(target + scale * (x - source))

    return unit(projected(rows) - projected(fitted).mean(0) + target), scale


def split(rows):
    """Every fifth row is held out."""
    unseen = np.arange(1, len(rows) + 1) % 5 == 0
    return rows[~unseen], rows[unseen]


def gap(first, second):
    return np.linalg.norm(first.mean(0) - second.mean(0))


def test_every_study_by_its_figure():
    done = FORKS.run(["-m", "scripts.studies", "--help"], environment=ENVIRONMENT, cwd=ROOT)
    listed = dict(re.findall(r"^  ([a-z-]+) +(figure \d+(?:\([ab]\))?|ours): ", done.stdout, re.M))
    assert listed == {
        "aligned-centroids": "figure 4",
        "sample-sizes": "figure 7",
        "mean-error": "figure 8(a)",
        "fit-times": "figure 8(b)",
        "precision": "ours",
        "domain-transfer": "figure 9",
        "spectrum-decay": "figure 10(a)",
        "blockwise-failure": "figure 10(b)",
        "caption-lengths": "figure 11",
    }
    assert re.search(r"drawn: +aligned-centroids,\s+sample-sizes,\s+blockwise-failure", done.stdout)


def test_row_counts_are_those_of_the_papers_figure_7():
    assert held_out.row_counts(500_000) == [100, 500, 1000, 5000, 10_000, 50_000, 100_000, 500_000]
    assert held_out.row_counts(960) == [100, 500, 960] and held_out.row_counts(60) == [60]


def test_more_samples_close_the_held_out_gap(stores, tmp_path):
    record = study("sample-sizes", stores, *ONE, tmp_path / "out", "--seed", "3")
    gaps = {point["rows"]: point["gap_mean"] for point in record["curve"]}
    assert list(gaps) == [100, 500, 960] and gaps[960] < gaps[100]
    assert gaps[960] < 3 * record["floor"] and len(record["curve"][0]["gaps"]) == 5
    (texts, texts_unseen), (images, images_unseen) = (split(all_rows(store)) for store in opened(stores, *sum(ONE, [])))
    assert record["held_out_rows"] == [300, 240] == [len(texts_unseen), len(images_unseen)]
    floor = sum(np.square(x - x.mean(0)).sum(1).mean() / len(x) for x in (texts_unseen, images_unseen))
    assert record["floor"] == pytest.approx(np.sqrt(floor), rel=1e-9)
    draws = np.random.default_rng(3)
    for point in record["curve"]:
        for measured in point["gaps"]:
            fitted, target = (x[np.sort(draws.choice(len(x), point["rows"], replace=False))] for x in (texts, images))
            assert measured == pytest.approx(gap(realigned(fitted, target, texts_unseen)[0], images_unseen), rel=1e-6)
        assert [point["gap_mean"], point["gap_std"]] == pytest.approx([np.mean(point["gaps"]), np.std(point["gaps"])])


def test_aligned_centroids(stores, tmp_path):
    pairs = (["general-texts", "medical-texts"], ["general-images", "medical-images"])
    record = study("aligned-centroids", stores, *pairs, tmp_path / "out", "--seed", "7")
    assert list(record["corpora"]) == pairs[0]
    for number, (name, target) in enumerate(zip(*pairs)):
        texts, images = map(all_rows, opened(stores, name, target))
        corpus = record["corpora"][name]
        assert corpus["rows"] == [1500, 1200] and corpus["dim"] == DIM
        assert corpus["none"] == pytest.approx(gap(texts, images))
        assert corpus["realign"] == pytest.approx(gap(realigned(texts, images, texts)[0], images), rel=1e-6)
        torch.manual_seed(int(np.random.SeedSequence(7).generate_state(6)[3 * number + 2]))
        blocks = [torch.randn(len(x), DIM, dtype=torch.float64) for x in (texts[:1000], texts[1000:])]  # of a store
        noise = torch.cat(blocks).numpy()
        for point in [corpus["c3"], *corpus["sweep"]]:
            sigma = point["sigma"]
            noisy = texts - texts.mean(0) + images.mean(0) + sigma * noise
            assert point["gap_before_projection"] == pytest.approx(gap(noisy, images), rel=1e-9)
            assert point["gap"] == pytest.approx(gap(unit(noisy), images), rel=1e-6)
            expected = sigma * math.sqrt(DIM / 1500)
            assert point["noise_mean_expected"] == pytest.approx(expected)
            assert abs(point["gap_before_projection"] / expected - 1) < 5 / math.sqrt(2 * DIM), "5 standard deviations"
        assert corpus["c3"]["sigma"] == ConnectCollapseCorrupt().sigma == 0.02
        assert [point["sigma"] for point in corpus["sweep"]] == [0.005, 0.01, 0.02, 0.05, 0.1]
    svg = (tmp_path / "out" / "aligned_centroids.svg").read_text()
    assert svg.count("expected size of the mean of C3") == 1, "the figure says why C3 stagnates"


def test_the_plateau_of_the_papers_figure_4_is_the_mean_of_c3s_noise():
    assert centroids.noise_mean_size(0.02, 1280, 100_000) == pytest.approx(0.0023, abs=5e-5)
    assert centroids.noise_mean_size(0.5, 16, 4) == 1.0


def test_c3s_gap_is_seeded_sampled_and_leaves_other_noise_alone(stores):
    pair = {"general": tuple(opened(stores, *sum(ONE, [])))}
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first, again, other = (centroids.aligned_centroids(pair, rows=400, sigmas=(), seed=seed) for seed in (5, 5, 6))
    assert torch.equal(torch.get_rng_state(), before)
    assert first == again and first["corpora"]["general"]["rows"] == [400, 400]
    for key in ("none", "realign"):
        assert first["corpora"]["general"][key] != other["corpora"]["general"][key], "other rows are drawn"


def test_projecting_draws_noisy_rows_towards_the_origin(tmp_path):
    rng = np.random.default_rng(0)
    centre = np.eye(256)[0]
    texts, images = (unit(centre + 0.02 * rng.normal(size=(3000, 256))) for _ in range(2))
    write_store(tmp_path / "t", texts)
    write_store(tmp_path / "i", images, modality="image")
    (corpus,) = centroids.aligned_centroids({"a": tuple(opened(tmp_path, "t", "i"))}, sigmas=(0.05,), seed=1)[
        "corpora"
    ].values()
    (point,) = corpus["sweep"]
    shortened = corpus["target_norm"] * (1 - 1 / math.sqrt(1 + 0.05**2 * 256))
    assert point["gap"] == pytest.approx(shortened, rel=0.02)
    assert point["gap_before_projection"] < point["gap"] / 10


def test_an_exact_sum_has_no_rounding():
    tiny = np.array([[1.0, 0.5], [2.0**-60, 0.0], [-1.0, 2.0**-95]])
    assert tiny.sum(0)[0] == 0, "float64 loses it"
    assert rounding.exact_sum([tiny], 2) == [Fraction(1, 2**60), Fraction(1, 2)], "cut to multiples of 2^-90"
    rng = np.random.default_rng(2)
    rows = unit(rng.normal(size=(700, 5)) * 10.0 ** rng.integers(-9, 1, size=(700, 1)) + 1e-9)
    sums = rounding.exact_sum(np.split(rows, [1, 300]), 5)
    assert [float(total) for total in sums] == [math.fsum(column) for column in rows.T]
    assert [float(total) for total in sums] != list(np.add.accumulate(rows)[-1])
    assert rounding.distance(np.array([0.5, 0.25]), [Fraction(1, 2) - 3, Fraction(17, 4)]) == 5.0
    third = rounding.distance(np.array([1 / 3]), [Fraction(1, 3)])
    assert third == pytest.approx(2**-54 / 3, rel=1e-12), "of 1/3, which no float is"


def test_a_running_mean_adds_in_its_own_type():
    raw = np.random.default_rng(3).normal(size=(500, 3)) + 0.4
    rows = unit(raw)
    for dtype in (np.float32, np.float64):
        one_by_one, by_sevens = np.zeros(3, dtype), np.zeros(3, dtype)
        for row in rows:
            one_by_one = one_by_one + row.astype(dtype)
        for start in range(0, 500, 7):
            by_sevens = by_sevens + torch.tensor(rows[start : start + 7].astype(dtype)).sum(0).numpy()
        array = ChosenRows(ArrayRows(np.concatenate([raw, raw])), np.arange(500))
        assert rounding.running_mean(array, dtype, 1).tolist() == (one_by_one / dtype(500)).tolist()
        assert rounding.running_mean(array, dtype, 7).tolist() == (by_sevens / dtype(500)).tolist()
        assert rounding.running_mean(array, dtype, 1).dtype == dtype


def test_the_error_of_a_mean_by_accumulator(stores, tmp_path):
    record = study("mean-error", stores, *ONE, tmp_path / "out")
    assert list(record) == ["texts", "images"]
    for curve, store, counts in zip(
        record.values(), opened(stores, *sum(ONE, [])), ([100, 500, 1000, 1500], [100, 500, 1000, 1200])
    ):
        assert curve["rows"] == counts
        rows = all_rows(store)
        single, double, fit = (
            curve["errors"][name] for name in ("float32, 1 row at once", "float64, 1 row at once", "stream_moments")
        )
        for place, count in enumerate(counts):
            total = np.zeros(DIM, np.float32)
            for row in rows[:count].astype(np.float32):
                total = total + row
            exact = [math.fsum(column) / count for column in rows[:count].T]
            assert single[place] == pytest.approx(np.linalg.norm(total / np.float32(count) - exact), rel=1e-6)
            assert double[place] < 1e-15 and fit[place] < 1e-15
        assert single[-1] > single[0] and single[-1] > 3 * curve["errors"]["float32, 64 rows at once"][-1]
        assert len(curve["errors"]) == 7


def test_equal_rows_of_few_digits_leave_no_error(tmp_path):
    write_store(tmp_path / "t", np.tile(np.eye(4)[1], (600, 1)))
    (store,) = opened(tmp_path, "t")
    errors = rounding.mean_error(store, store)["texts"]["errors"]
    assert set(map(tuple, errors.values())) == {(0.0, 0.0, 0.0)}


def test_float32_accumulators_leave_a_floor(stores, tmp_path):
    record = study("precision", stores, *ONE, tmp_path / "out")
    single, double = (record[name]["gap_by_round"][-1] for name in ("float32", "float64"))
    assert double < 1e-8 < single < 1e-4
    assert record["float64"]["mean_error"] < 1e-14 < record["float32"]["mean_error"]
    texts, images = map(all_rows, opened(stores, *sum(ONE, [])))
    first_round = gap(realigned(texts, images, texts)[0], images)
    assert record["float64"]["gap_by_round"][0] == pytest.approx(first_round, rel=1e-6)


def test_statistics_of_the_wrong_domain_do_not_align(stores, tmp_path):
    pairs = (["general-texts", "medical-texts"], ["general-images", "medical-images"])
    record = study("domain-transfer", stores, *pairs, tmp_path / "out")
    gaps = record["gap"]
    parts = {name: [split(all_rows(s)) for s in opened(stores, name, target)] for name, target in zip(*pairs)}
    for domain, other in (("general-texts", "medical-texts"), ("medical-texts", "general-texts")):
        assert gaps[domain][domain] < record["gap_before"][domain] / 2
        assert gaps[other][domain] > 3 * gaps[domain][domain]
        (texts, texts_there), (images, images_there) = parts[domain]
        assert record["gap_before"][domain] == pytest.approx(gap(texts_there, images_there))
        (fitted, _), (target, _) = parts[other]
        assert gaps[other][domain] == pytest.approx(gap(realigned(fitted, target, texts_there)[0], images_there))
        assert gaps[domain][domain] == pytest.approx(gap(realigned(texts, images, texts_there)[0], images_there))


def spectrum_of(rows, ranks):
    centred = rows - rows.mean(0)
    values = np.linalg.svd(centred, compute_uv=False) ** 2 / len(rows)
    return values[np.array(ranks) - 1], values


def test_spectrum_decay(stores, tmp_path):
    record = study("spectrum-decay", stores, *ONE, tmp_path / "out")
    (texts, unseen), (images, images_unseen) = (split(all_rows(store)) for store in opened(stores, *sum(ONE, [])))
    assert record["rows"] == [300, 240] and record["ranks"] == list(range(1, DIM + 1))
    aligned, scale = realigned(texts, images, unseen)
    for cloud, rows in (
        (record["target"], images_unseen),
        (record["text"], unseen),
        (record["aligned"]["realign"], aligned),
    ):
        shown, values = spectrum_of(rows, record["ranks"])
        assert cloud["eigenvalues"] == pytest.approx(shown, rel=1e-6)
        assert cloud["condition_number"] == pytest.approx(values[0] / values[-1], rel=1e-6)
        assert cloud["trace"] == pytest.approx(values.sum())
        shares = values / values.sum()
        assert cloud["effective_rank"] == pytest.approx(math.exp(-(shares * np.log(shares)).sum()), rel=1e-6)
    assert record["aligned"]["realign"]["largest_gain"] == pytest.approx(scale)
    names = [f"bc, ridge {ridge}" for ridge in ("0", "1e-06", "0.0001", "0.01", "0.1", "1")]
    assert list(record["aligned"]) == ["realign", *names, "bc, U of 0.5", "bc, U of 0.99"]
    gains = [record["aligned"][name]["largest_gain"] for name in names]
    assert gains == sorted(gains, reverse=True) and gains[0] > gains[-1], "a ridge holds the inverse back"


def ill_conditioned(rng, count, least):
    return unit(np.eye(6)[0] + rng.normal(size=(count, 6)) * np.array([0.1, 0.3, 0.3, 0.2, 0.2, least]))


def test_blockwise_covariance_amplifies_what_hardly_varies(tmp_path):
    """The last direction hardly varies in texts, and varies in images: whitening and colouring stretch it."""
    rng = np.random.default_rng(8)
    write_store(tmp_path / "t", ill_conditioned(rng, 2000, 1e-4), dtype="float32")
    write_store(tmp_path / "i", ill_conditioned(rng, 2000, 0.1), modality="image")
    record = spectra.spectrum_decay(*opened(tmp_path, "t", "i"), ridges=(0.0,), energies=())
    assert record["text"]["condition_number"] > 1e6 > 100 > record["target"]["condition_number"]
    (texts, _), (images, _) = (split(all_rows(store)) for store in opened(tmp_path, "t", "i"))
    anchored = unit(texts - texts.mean(0) + images.mean(0))
    source, anchor, target = (np.cov(rows.T, bias=True) for rows in (texts, anchored, images))
    values, vectors = np.linalg.eigh(source + target)
    rank = 1 + int(np.argmax(np.cumsum(values[::-1]) >= 0.9 * values.sum()))
    gains = []
    for basis in (vectors[:, ::-1][:, :rank], vectors[:, ::-1][:, rank:]):
        whitening = np.linalg.inv(sqrtm(basis.T @ anchor @ basis))
        gains.append(np.linalg.norm(sqrtm(basis.T @ target @ basis) @ whitening, 2))
    gain = record["aligned"]["bc, ridge 0"]["largest_gain"]
    assert gain == pytest.approx(max(gains), rel=1e-6)
    assert gain > 20 * record["aligned"]["realign"]["largest_gain"]
    few = spectra._spectrum(moments_of(tmp_path, 5), [1, 6])
    assert few["condition_number"] is None and "more rows than dimensions" in few["missing"]


def moments_of(folder, count):
    return rounding.stream_moments(ChosenRows(Store.open(folder / "t"), np.arange(count)), covariance=True)


def test_kept_ranks_run_from_the_first_to_the_last():
    assert spectra.kept_ranks(1) == [1] and spectra.kept_ranks(8) == list(range(1, 9))
    ranks = spectra.kept_ranks(1280)
    assert ranks[0] == 1 and ranks[-1] == 1280 and ranks == sorted(set(ranks)) and 40 < len(ranks) <= 64


def test_caption_lengths(stores, tmp_path):
    sources = ["general-texts", "medical-texts"]
    record = study("caption-lengths", stores, sources, ["general-images"], tmp_path / "lengths")
    images, *texts = map(all_rows, opened(stores, "general-images", *sources))
    assert list(record["texts"]) == sources
    assert record["texts"]["medical-texts"]["gap_before"] > record["texts"]["general-texts"]["gap_before"]
    for cloud, rows in zip((record["target"], *record["texts"].values()), (images, *texts)):
        shown, values = spectrum_of(rows, record["ranks"])
        shares = values / values.sum()
        assert cloud["eigenvalues"] == pytest.approx(shown, rel=1e-6)
        assert cloud["effective_rank"] == pytest.approx(math.exp(-(shares * np.log(shares)).sum()), rel=1e-6)
        assert cloud["trace"] == pytest.approx(values.sum())
    for cloud, rows in zip(record["texts"].values(), texts):
        assert cloud["gap_before"] == pytest.approx(gap(rows, images))
        assert cloud["gap_held_out"] < cloud["gap_before"]
    write_store(tmp_path / "target", texts[0])
    named = study("caption-lengths", tmp_path, ["target"], [stores / "general-images"], tmp_path / "named")
    assert named["target"]["effective_rank"] == record["target"]["effective_rank"], "a store may be called target"


def test_blockwise_failure(stores, tmp_path):
    record = study("blockwise-failure", stores, *ONE, tmp_path / "blockwise")
    overlaps = {name: values["neighbourhood_overlap_10"] for name, values in record.items()}
    assert overlaps["realign"] == max(overlaps.values()) and overlaps["bc, ridge 0"] < overlaps["realign"]
    (texts, unseen), (images, images_unseen) = (split(all_rows(store)) for store in opened(stores, *sum(ONE, [])))
    aligned = realigned(texts, images, unseen)[0]
    assert record["realign"]["gap_held_out"] == pytest.approx(gap(aligned, images_unseen), rel=1e-6)
    kept = []
    for before, after in zip(*(np.argsort(-(x @ x.T - 2 * np.eye(len(x))))[:, :10] for x in (unseen, aligned))):
        kept.append(len(set(before) & set(after)) / 10)
    assert overlaps["realign"] == pytest.approx(np.mean(kept), abs=2e-3), "float32 ties"
    assert {"bc, U of 0.5", "bc, U of 0.99"} < set(record), "what hangs on a threshold is shown for several"


def test_neighbours_are_kept_among_rows_that_are_drawn(stores, monkeypatch):
    monkeypatch.setattr(spectra, "OVERLAP_ROWS", 50)
    pair = opened(stores, *sum(ONE, []))
    first, again, other = (
        spectra.blockwise_failure(*pair, ridges=(), energies=(), seed=seed)["realign"] for seed in (0, 0, 1)
    )
    assert first == again and first["gap_held_out"] == other["gap_held_out"]
    assert first["neighbourhood_overlap_10"] != other["neighbourhood_overlap_10"]


def test_fit_times(stores, tmp_path):
    times = study("fit-times", stores, *ONE, tmp_path / "times")
    assert times["rows"] == [1000, 1200]
    for method in ("mean_shift", "realign"):
        assert len(times["seconds"][method]) == len(times["megabytes"][method]) == 2
        assert min(times["seconds"][method]) > 0


def test_stores_of_one_name_keep_apart(stores, tmp_path):
    for domain in ("general", "medical"):
        for kind in ("texts", "images"):
            (tmp_path / domain).mkdir(exist_ok=True)
            (tmp_path / domain / kind).symlink_to(stores / f"{domain}-{kind}")
    pairs = [[tmp_path / domain / kind for domain in ("general", "medical")] for kind in ("texts", "images")]
    record = study("domain-transfer", tmp_path, *pairs, tmp_path / "out")
    assert list(record["gap"]) == ["general/texts", "medical/texts"]


def test_bad_input(stores, tmp_path):
    out = tmp_path / "out"
    both = ["general-images", "medical-images"]
    write_store(tmp_path / "few", unit_rows(np.random.default_rng(0), 60, DIM))
    write_store(tmp_path / "forty", unit_rows(np.random.default_rng(0), 40, DIM))
    write_store(tmp_path / "fewer", unit_rows(np.random.default_rng(0), 9, DIM))
    write_store(tmp_path / "constant", np.tile(np.eye(DIM)[0], (200, 1)))
    write_store(
        tmp_path / "other", unit_rows(np.random.default_rng(0), 60, DIM), encoder={"spec": "b", "fingerprint": "1" * 64}
    )
    for name, sources, targets, message in (
        ("precision", ["general-texts"], both, "precision takes one store in --target, not 2"),
        ("mean-error", ["general-texts", "medical-texts"], both[:1], "mean-error takes one store in --source, not 2"),
        ("domain-transfer", *ONE, "two or more, not 1 and 1"),
        ("aligned-centroids", ["general-texts"], both, "as many stores in --source as in --target, not 1 and 2"),
        ("precision", ["none"], both[:1], "no such embedding store"),
        ("sample-sizes", [tmp_path / "few"], both[:1], "at least 125 rows"),
        ("spectrum-decay", [tmp_path / "fewer"], both[:1], "needs at least 10 rows, not 9"),
        ("spectrum-decay", [tmp_path / "constant"], both[:1], "cannot be measured on these stores: the embeddings are"),
        ("blockwise-failure", [tmp_path / "forty"], both[:1], "on these stores: 10 neighbours need at least 11 rows"),
        ("blockwise-failure", [tmp_path / "few"] * 2, both[:1], "takes one store in --source"),
        ("caption-lengths", [tmp_path / "few"] * 2, both[:1], "--source: the same store is given twice"),
        ("mean-error", both[:1], ["general-texts"], "is a store of images; --source must be one of texts"),
        ("aligned-centroids", [tmp_path / "other"], both[:1], "the stores come from different encoders"),
    ):
        assert message in study(name, stores, sources, targets, out, expect=2), name
    assert "at least 0 is needed" in study("sample-sizes", stores, *ONE, out, "--seed", "-1", expect=2)
    assert not out.exists()
    with pytest.raises(RevisionError, match="needs at least 125 rows"):
        measurements.sample_sizes(*opened(tmp_path, "fewer"), *opened(stores, "general-images"))
