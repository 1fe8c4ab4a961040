"""lmms-eval's own class for LLaVA scores an exported model as `revision evaluate` does its checkpoint."""

import json
import os
import subprocess
import sys

import pytest
from conftest import ROOT, evaluate_words, run_revision

from revision_plugin.demo import corpus, world

pytestmark = pytest.mark.slow


def samples(out):
    (path,) = out.rglob("*_samples_revision_demo.jsonl")
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    return sorted((row["doc_id"], row["filtered_resps"].strip(), row["acc"]) for row in rows)


def test_same_answers_and_scores(stage2, tmp_path):
    scenes = world.sample_scenes(4, seed=5, held_out=True, distinct=True)
    root = corpus.write_benchmark(scenes, tmp_path / "benchmark", seed=5)
    run_revision("export", "--model", stage2, "--out", tmp_path / "model", "--no-check")
    run_revision(*evaluate_words(stage2, root, tmp_path / "ours"))
    arguments = f"pretrained={tmp_path / 'model'},trust_remote_code=True,dtype=float32,device_map=cpu"
    command = [sys.executable, "-P", "-m", "lmms_eval", "--model", "llava_hf", "--model_args", arguments]
    command += ["--tasks", "revision_demo", "--include_path", str(tmp_path / "ours" / "tasks"), "--device", "cpu"]
    command += ["--batch_size", "1", "--output_path", str(tmp_path / "theirs"), "--log_samples", "--force_simple"]
    environment = {**os.environ, "REVISION_DATA_ROOT": str(root), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=ROOT, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    assert samples(tmp_path / "theirs") == samples(tmp_path / "ours")
