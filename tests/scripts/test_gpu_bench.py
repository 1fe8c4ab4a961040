"""The GPU benchmark, its parts run small on a CPU; and what it says where there is no GPU."""

import json
import sys

import pytest
from conftest import ENVIRONMENT, FORKS, ROOT

from scripts.bench import gpu


@pytest.mark.slow
def test_every_part_runs_small(tmp_path):
    words = ["-m", "scripts.bench.gpu", "--tiny", "--out", str(tmp_path / "gpu"), "--page", str(tmp_path / "gpu.md")]
    done = FORKS.run(words, environment=ENVIRONMENT, cwd=ROOT, timeout=500)
    assert done.returncode == 0, done.stderr[-3000:]
    record = json.loads((tmp_path / "gpu" / "gpu.json").read_text())
    assert list(record["parts"]) == list(gpu.PARTS)
    assert all(result.get("rows") for result in record["parts"].values()), record["parts"]
    trained = record["parts"]["stages"]["rows"] + record["parts"]["qlora"]["rows"]
    assert all(row["last loss"] < row["first loss"] for row in trained)
    assert all(row["largest difference"] < 1e-6 for row in record["parts"]["fits"]["rows"])
    page = (tmp_path / "gpu.md").read_text()
    assert page == gpu.page(record) and "**No GPU was at hand.**" in page
    assert [line for line in page.splitlines() if line.startswith("## ")] == [f"## {t}" for t, _ in gpu.PARTS.values()]


def test_the_page_in_the_docs_has_the_parts_of_today():
    page = (ROOT / "docs" / "gpu.md").read_text()
    assert [line for line in page.splitlines() if line.startswith("## ")] == [f"## {t}" for t, _ in gpu.PARTS.values()]


def test_without_a_gpu_it_says_so(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["gpu"])
    monkeypatch.setattr(gpu.torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit) as end:
        gpu.main()
    assert end.value.code == 2 and "error: no GPU was found; run this on a machine with one" in capsys.readouterr().err


def test_a_part_that_fails_is_in_the_result(tmp_path, monkeypatch):
    def broken(ground):
        raise RuntimeError("CUDA error: out of memory")

    monkeypatch.setitem(gpu.PARTS, "fits", ("Fits", broken))
    ground = gpu.gpu_parts.Ground(tmp_path, tiny=True)
    results = gpu.run_parts(ground, ["fits", "answers"], 60)
    assert results["fits"] == {"problem": "CUDA error: out of memory"}
    assert "run the part 'stages' first" in results["answers"]["problem"]
    assert gpu.run_parts(ground, ["fits"], -1)["fits"] == {"problem": "not run: the time was up"}
