"""`llava_revision` and `revision evaluate` on a real, tiny checkpoint."""

import json
import re
import shutil
import subprocess
import sys
import time
from types import SimpleNamespace

import benchmark_data
import pytest
from conftest import ENVIRONMENT, evaluate_words, kill_all, run_revision

from revision_plugin.demo import corpus, world
from revision_plugin.errors import RevisionError
from revision_plugin.evaluation import run
from revision_plugin.evaluation.answer_file import AnswerFile, fingerprints
from revision_plugin.evaluation.model import LlavaRevision

pytestmark = pytest.mark.slow
QUESTIONS = 12


@pytest.fixture(scope="module")
def benchmark(tmp_path_factory):
    scenes = world.sample_scenes(QUESTIONS // 6 + 1, seed=5, held_out=True, distinct=True)
    return corpus.write_benchmark(scenes, tmp_path_factory.mktemp("benchmark"), seed=5), scenes


def samples(out):
    """Row number -> the reply lmms-eval scored."""
    (path,) = out.rglob("*_samples_revision_demo.jsonl")
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    return {row["doc_id"]: row["filtered_resps"] for row in rows}


def evaluate(model, root, out, *flags, expect=0):
    return run_revision(*evaluate_words(model, root, out), *flags, expect=expect, timeout=600)


def kill_after_an_answer(model, root, out):
    """kill -9 to an evaluation of one question at a time; returns the whole lines it had kept."""
    command = evaluate_words(model, root, out)
    process = subprocess.Popen(
        [sys.executable, "-m", "revision_plugin.cli", *map(str, command), "--batch-size", "1"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=ENVIRONMENT,
    )
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        assert process.poll() is None, "it ended before it was killed"
        lines = [line for path in out.glob("answers/*.jsonl") for line in path.read_text().splitlines(keepends=True)]
        if any(line.endswith("\n") for line in lines):
            kill_all(process)
            (answer_file,) = (out / "answers").glob("*.jsonl")
            return "".join(line for line in answer_file.read_text().splitlines(keepends=True) if line.endswith("\n"))
        time.sleep(0.005)
    raise AssertionError("no answer in time")


def test_the_same_answers_as_revision_ask_and_a_resumed_run(benchmark, stage2, tmp_path):
    from datasets import load_dataset

    root, _ = benchmark
    killed = kill_after_an_answer(stage2, root, tmp_path / "out")
    done = evaluate(stage2, root, tmp_path / "out", "--batch-size", 5)
    assert "revision_demo: accuracy " in done.stdout
    assert "answering on cpu" in done.stderr.splitlines()
    known = "answering on cpu|answer: \\d+ of \\d+ questions, |.* lacks README.md, "
    assert all(re.match(known, line) for line in done.stderr.splitlines()), done.stderr
    assert "Postprocessed" in (tmp_path / "out" / "lmms_eval.log").read_text(), "the log has the rest"
    (answer_file,) = (tmp_path / "out" / "answers").glob("*.jsonl")
    assert answer_file.read_text().startswith(killed) and killed.count("\n") < len(answer_file.read_text().splitlines())
    replies = samples(tmp_path / "out")
    rows = load_dataset(str(root / "revision-plugin" / "demo"), split="test", cache_dir=str(tmp_path / "cache"))
    assert sorted(replies) == list(range(len(rows)))
    for number in (0, len(rows) - 1):
        rows[number]["image"].save(tmp_path / "image.png")
        question = rows[number]["question"]
        ask_run = run_revision(
            "ask", "--model", stage2, "--image", tmp_path / "image.png", question, "--max-new-tokens", 6
        )
        assert ask_run.stdout.strip() == replies[number] and ask_run.stderr == "answering on cpu\n"
    lines = answer_file.read_text().splitlines()
    assert len(lines) == len(rows)
    changed = json.loads(lines[0])
    changed["answer"] = "kept from before"
    answer_file.write_text(
        json.dumps(changed) + "\n" + lines[1] + "\n" + lines[2][:20]
    )  # a run killed in its third line
    for old in (tmp_path / "out").rglob("*_samples_*"):
        old.unlink()
    evaluate(stage2, root, tmp_path / "out", "--batch-size", 5, "--processes", 2)
    assert samples(tmp_path / "out") == {**replies, int(changed["key"][2]): "kept from before"}
    line = evaluate(stage2, root, tmp_path / "out", "--blind", expect=2).stderr
    assert "holds a stopped run with another blind" in line


def with_card(root, copy, *, question=None):
    """The benchmark as it is mirrored from the hub, with a README card; with another first question on demand."""
    from datasets import Dataset

    shutil.copytree(root, copy)
    folder = copy / "revision-plugin" / "demo"
    if question:
        (shard,) = folder.glob("data/*.parquet")
        rows = Dataset.from_parquet(str(shard), cache_dir=str(copy / "cache"))
        texts = [question, *rows["question"][1:]]
        rows.remove_columns("question").add_column("question", texts).to_parquet(shard)
    files = "- config_name: default\n  data_files:\n  - split: test\n    path: data/test-*\n"
    (folder / "README.md").write_text(f"---\nconfigs:\n{files}---\n")
    return copy


def test_answers_belong_to_their_data(benchmark, stage2, tmp_path):
    """Another mirror in the same output folder: its changed row is asked again, and that is said. The checkpoint by a
    relative path is the same checkpoint.
    """
    import os

    root, _ = benchmark
    evaluate(stage2, with_card(root, tmp_path / "one"), tmp_path / "out")
    before = json.loads((tmp_path / "out" / "data.json").read_text())["revision_demo"]
    (answers,) = (tmp_path / "out" / "answers").glob("*.jsonl")
    count = len(answers.read_text().splitlines())
    assert before["rows"] == count and before["data_root"] == str(tmp_path / "one")
    other = with_card(root, tmp_path / "two", question="is there a zebra?")
    done = evaluate(os.path.relpath(stage2), other, os.path.relpath(tmp_path / "out"))
    assert "revision_demo: 1 of its rows are not those whose answers are kept; they are asked again" in done.stderr
    assert "revision_demo: its rows or images are not those of the scores before" in done.stderr
    after = json.loads((tmp_path / "out" / "data.json").read_text())["revision_demo"]
    assert after["fingerprint"] != before["fingerprint"] and after["data_root"] == str(tmp_path / "two")
    assert len(answers.read_text().splitlines()) == count + 1
    again = evaluate(stage2, tmp_path / "one", tmp_path / "out")
    assert "asked again" not in again.stderr and len(answers.read_text().splitlines()) == count + 1
    assert json.loads((tmp_path / "out" / "data.json").read_text())["revision_demo"] == before


@pytest.mark.skipif(shutil.which("java") is None, reason="CIDEr's tokenizer is written in Java")
def test_captions_of_a_pretrained_checkpoint(stage1, tiny_llm, tmp_path):
    """CIDEr through lmms-eval's own task is what pycocoevalcap makes of the same captions."""
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

    from revision_plugin.evaluation import captions

    root = benchmark_data.write_all(tmp_path / "mirror")
    words = ("--model", stage1, "--base", tiny_llm, "--tasks", "coco_captions", "--data-root", root)
    done = run_revision("evaluate", *words, "--out", tmp_path / "out", "--device", "cpu", timeout=600, cwd=tmp_path)
    (path,) = (tmp_path / "out").rglob("*_samples_revision_coco_captions.jsonl")
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    said = {row["doc_id"]: [{"caption": row["coco_CIDEr"]["pred"]}] for row in rows}
    right = {row["doc_id"]: [{"caption": text} for text in row["coco_CIDEr"]["answer"]] for row in rows}
    tokenize = PTBTokenizer().tokenize
    expected, _ = Cider().compute_score(tokenize(right), tokenize(said))
    made = captions.score({"question_id": "000000000001.jpg", "id": 1, "answer": ["a red square"]}, ["a red square"])
    other = captions.score({"question_id": "000000000002.jpg", "id": 2, "answer": ["a dog on grass"]}, ["a dog"])
    pairs = [made[captions.CIDER], other[captions.CIDER]]
    by_hand, _ = Cider().compute_score(
        {each["id"]: each["answer"] for each in pairs}, {each["id"]: [each["pred"]] for each in pairs}
    )
    assert captions.cider(pairs, SimpleNamespace(output_path=str(tmp_path / "made"))) == pytest.approx(by_hand) != 0
    assert len(rows) == 4 and f"revision_coco_captions: CIDEr {expected:.4f}" in done.stdout
    assert not (tmp_path / "results").exists() and list((tmp_path / "out").rglob("coco_captions*.json"))


class FakeAssistant:
    """Answers with the number of images in its batch; remembers every batch."""

    def __init__(self):
        self.batches = []
        self.model = SimpleNamespace(dtype="float32")

    def ask(self, images, questions, *, max_new_tokens):
        self.batches.append((images, list(questions), max_new_tokens))
        return [f"{question}:{len(images or [])}" for question in questions]


@pytest.fixture
def fake(monkeypatch):
    assistant = FakeAssistant()
    host = SimpleNamespace(load=lambda model, **_: assistant)
    monkeypatch.setattr("revision_plugin.evaluation.model.find_host", lambda **_: host)
    return assistant


def requests(images_of: dict[str, list], **settings):
    """lmms-eval requests, one a question, and the task dictionary they refer to."""
    rows = [{"question": question, "images": images} for question, images in images_of.items()]
    made = [
        SimpleNamespace(
            args=(row["question"], {"max_new_tokens": 9, **settings}, lambda doc: doc["images"], i, "task", "test")
        )
        for i, row in enumerate(rows)
    ]
    return made, {"task": {"test": rows}}


def test_batches_blindness_and_order(fake):
    made, documents = requests({"a": ["A"], "b": [], "c": ["C"], "d": ["D"], "e": []})
    model = LlavaRevision(pretrained="x", batch_size="2")
    model.task_dict = documents
    assert model.generate_until(made) == ["a:2", "b:0", "c:2", "d:1", "e:0"]
    assert sorted(fake.batches, key=str) == sorted(
        [(["A", "C"], ["a", "c"], 9), (["D"], ["d"], 9), (None, ["b", "e"], 9)], key=str
    )
    fake.batches.clear()
    blind = LlavaRevision(pretrained="x", batch_size=8, blind="true")
    blind.task_dict = documents
    assert blind.generate_until(made) == ["a:0", "b:0", "c:0", "d:0", "e:0"]
    assert fake.batches == [(None, ["a", "b", "c", "d", "e"], 9)]


def test_what_the_model_refuses(fake):
    with pytest.raises(RevisionError, match="no model argument 'colour'"):
        LlavaRevision(pretrained="x", colour="red")
    with pytest.raises(RevisionError, match="needs --model_args pretrained"):
        LlavaRevision()
    with pytest.raises(RevisionError, match="batch_size must be a whole number"):
        LlavaRevision(pretrained="x", batch_size="auto:4")
    model = LlavaRevision(pretrained="x")
    made, model.task_dict = requests({"a": ["A", "B"]})
    with pytest.raises(RevisionError, match="row 0: has 2 images"):
        model.generate_until(made)
    made, model.task_dict = requests({"a": ["A"]}, do_sample=True)
    with pytest.raises(RevisionError, match="decodes greedily"):
        model.generate_until(made)


def test_failures_are_failures(benchmark, stage1, stage2, tmp_path):
    """lmms-eval itself exits with 0 and no result; `revision evaluate` does not."""
    root, _ = benchmark
    line = evaluate(stage1, root, tmp_path / "s1", expect=2).stderr.splitlines()[-1]
    assert "is a Stage-1 checkpoint (a projector only); give its language model with --base" in line
    words = [word if word != "cpu" else "gpu" for word in evaluate_words(stage2, root, tmp_path / "o0")]
    line = run_revision(*words, expect=2).stderr.splitlines()[-1]
    assert line.startswith("error: --device gpu: ") and not (tmp_path / "o0").exists()
    line = evaluate(tmp_path / "none", root, tmp_path / "o1", expect=2).stderr.splitlines()[-1]
    assert "no such checkpoint" in line
    foreign = tmp_path / "foreign"
    shutil.copytree(stage2, foreign)
    config = json.loads((foreign / "config.json").read_text())
    config["revision"]["encoder"]["fingerprint"] = "0" * 64
    (foreign / "config.json").write_text(json.dumps(config))
    line = evaluate(foreign, root, tmp_path / "o2", expect=2).stderr.splitlines()[-1]
    assert "was trained with another encoder than the one there now" in line
    broken = tmp_path / "mirror" / "revision-plugin" / "demo" / "data"
    broken.mkdir(parents=True)
    from datasets import Dataset

    Dataset.from_list([{"question": "what?", "answer": "yes"}]).to_parquet(broken / "test-00000-of-00001.parquet")
    line = evaluate(stage2, tmp_path / "mirror", tmp_path / "o3", expect=2).stderr.splitlines()[-1]
    assert line.startswith("error: no result for revision_demo: the dataset lacks the field(s) image, kind")


def test_answers_are_stored_by_question_and_checkpoint(tmp_path):
    first = AnswerFile(tmp_path, "abc", 0)
    first.add("task", "test", 3, "what?", 6, answer="a dog")
    again = AnswerFile(tmp_path, "abc", 1)
    assert again.get("task", "test", 3, "what?", 6) == "a dog"
    assert again.get("task", "test", 4, "what?", 6) is None and again.get("task", "test", 3, "where?", 6) is None
    assert AnswerFile(tmp_path, "xyz", 0).get("task", "test", 3, "what?", 6) is None
    assert again.has_other("task", "test", 3, "whose?", 6) and not again.has_other("task", "test", 3, "what?", 6)
    assert not again.has_other("task", "test", 4, "what?", 6)


def test_a_fingerprint_is_of_all_processes_rows(tmp_path):
    one = AnswerFile(tmp_path / "one", "abc", 0)
    one.record_rows({"task": {0: "x", 1: "y"}})
    for rank in (0, 1):
        AnswerFile(tmp_path / "two", "abc", rank).record_rows({"task": {rank: "xy"[rank]}})
    assert fingerprints(tmp_path / "one") == fingerprints(tmp_path / "two")
    assert fingerprints(tmp_path / "one")["task"]["rows"] == 2
    one.record_rows({"task": {0: "x", 1: "z"}})
    assert fingerprints(tmp_path / "one") != fingerprints(tmp_path / "two")


def test_task_names(tmp_path):
    assert run.expand(["demo", "revision_demo", "pope"]) == ["revision_demo", "revision_pope"]
