"""The eleven benchmarks on fixtures with the real schemas, through lmms-eval's own loader and command line."""

import json
import os
import subprocess
import sys

import benchmark_data
import pytest
from conftest import ROOT

from revision_plugin.errors import RevisionError
from revision_plugin.evaluation import documents, mirror, results, run, table

pytestmark = pytest.mark.slow
SNAPSHOT = ROOT / "tests" / "data" / "prompts.json"
VARIANTS = ["scienceqa_dev", "scienceqa_test", "mmmu_pro_vision", "crpe_exist"]


@pytest.fixture(scope="module")
def data_root(tmp_path_factory):
    return benchmark_data.write_all(tmp_path_factory.mktemp("mirror"))


@pytest.fixture(scope="module")
def tasks(data_root, tmp_path_factory):
    """All tasks, loaded by lmms-eval from the mirror, in a datasets cache of their own."""
    from lmms_eval.api import task as lmms_eval_task
    from lmms_eval.tasks import TaskManager, get_task_dict

    names = run.expand(["revision_bench", *VARIANTS])
    folder = mirror.write_overlays(mirror.mirrored(names, data_root), tmp_path_factory.mktemp("tasks"))
    manager = TaskManager(include_path=str(folder), include_defaults=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LMMS_EVAL_DATASETS_CACHE", str(tmp_path_factory.mktemp("cache")))
        lmms_eval_task._resolve_hf_datasets_cache_dir.cache_clear()
        patch.setenv(documents.DATA_ROOT, str(data_root))
        yield get_task_dict(names, manager)
    lmms_eval_task._resolve_hf_datasets_cache_dir.cache_clear()


def right_reply(task, doc) -> str:
    """A reply that is right, said at some length."""
    target = str(task.doc_to_target(doc))
    if "gt_answer" in doc:
        return {"1": "Yes, it is.", "0": "No."}[target]
    if target.startswith("["):
        return "The answer is 4.5 cm."
    return f"The answer is {target}."


def test_our_folder_is_indexed_without_the_defaults():
    from lmms_eval.tasks import TaskManager

    manager = TaskManager(include_path=str(mirror.task_folder()), include_defaults=False)
    names = {path.stem for path in mirror.task_folder().glob("revision_*.yaml")}
    assert set(manager.all_tasks) == names and set(run.expand(["revision_bench"])) < names
    assert [name.removeprefix("revision_") for name in run.expand(["revision_bench"])] == list(table.BENCHMARKS)


def test_rows_prompts_and_images(tasks):
    """Exactly what a model is handed, against a snapshot read by eye; and which rows the filters keep."""
    rows_by_task = {}
    for name, task in tasks.items():
        rows = []
        for doc, whole in zip(task.eval_docs_no_media, task.test_docs()):
            images = task.config.doc_to_visual(whole)
            pictures = [[image.mode, *image.size, *image.getpixel((3, 3))] for image in images]
            rows.append({"prompt": task.doc_to_text(doc), "images": pictures, "target": task.doc_to_target(doc)})
        rows_by_task[name] = rows
    if os.environ.get("UPDATE_SNAPSHOTS"):
        SNAPSHOT.parent.mkdir(exist_ok=True)
        SNAPSHOT.write_text(json.dumps(rows_by_task, indent=1) + "\n")
    assert rows_by_task == json.loads(SNAPSHOT.read_text())
    assert {name.removeprefix("revision_"): len(rows) for name, rows in rows_by_task.items()} == {
        "mme": 6,
        "mmstar": 5,
        "scienceqa": 7,
        "realworldqa": 4,
        "mmmu": 3,
        "mmmu_pro": 3,
        "visulogic": 4,
        "logicvista": 4,
        "crpe": 4,
        "pope": 6,
        "hallusionbench": 5,
        "scienceqa_dev": 3,
        "scienceqa_test": 4,
        "mmmu_pro_vision": 2,
        "crpe_exist": 4,
    }


def test_right_and_useless_replies_score_one_and_zero(tasks):
    for name, task in tasks.items():
        for doc in task.eval_docs_no_media:
            assert task.process_results(doc, [right_reply(task, doc)])["acc"] == 1.0, (name, doc)
            for useless in ("", "I cannot tell from the image.", "Yes or no", "A or B"):
                assert task.process_results(doc, [useless])["acc"] == 0.0, (name, useless)


def test_all_eleven_through_the_command_line(tasks, data_root, tmp_path, capsys):
    """Every other reply is right; lmms-eval's group accuracy is the mean worked out here."""
    names = run.expand(["revision_bench"])
    replies, expected = {}, {}
    for name in names:
        task, right = tasks[name], 0
        for number, doc in enumerate(task.eval_docs_no_media):
            replies[task.doc_to_text(doc)] = right_reply(task, doc) if number % 2 == 0 else "I cannot tell."
            right += number % 2 == 0
        expected[name] = right / (number + 1)
    (tmp_path / "replies.json").write_text(json.dumps(replies))
    overlays = mirror.write_overlays(mirror.mirrored(names, data_root), tmp_path / "tasks", run.GROUP)
    command = [
        sys.executable,
        str(ROOT / "tests" / "table_model.py"),
        "--model",
        "table",
        "--model_args",
        f"table={tmp_path / 'replies.json'},seen={tmp_path / 'seen.json'}",
        "--tasks",
        "revision_bench",
        "--include_path",
        str(overlays),
        "--output_path",
        str(tmp_path / "ours"),
        "--batch_size",
        "1",
        "--log_samples",
    ]
    environment = {
        **os.environ,
        "LMMS_EVAL_DATASETS_CACHE": str(tmp_path / "cache"),
        documents.DATA_ROOT: str(data_root),
        "PYTHONPATH": str(ROOT / "tests"),
    }
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path, timeout=600)
    files = results.result_files(tmp_path / "ours")
    assert len(files) == 1, done.stderr[-3000:]
    scores = json.loads(files[0].read_text())["results"]
    assert {name: scores[name]["acc,none"] for name in names} == pytest.approx(expected)
    assert scores["revision_bench"]["acc,none"] == pytest.approx(sum(expected.values()) / 11)
    row = results.read_row(tmp_path / "ours")
    assert row.average == pytest.approx(100 * sum(expected.values()) / 11) and not row.limited
    assert len(json.loads((tmp_path / "seen.json").read_text())) == sum(len(tasks[n].eval_docs_no_media) for n in names)


def test_bad_data_gets_one_line(tasks, data_root, tmp_path):
    with pytest.raises(
        RevisionError, match="lacks Lin-Chen/MMStar, .*; 'hf download --repo-type dataset Lin-Chen/MMStar"
    ):
        mirror.write_overlays(mirror.mirrored(run.expand(["revision_bench"]), tmp_path), tmp_path / "o")
    with pytest.raises(RevisionError, match="no task 'mmee'; there are revision_bench"):
        run.expand(["mmee"])
    docs = tasks["revision_mme"].test_docs()
    with pytest.raises(RevisionError, match="lacks the field\\(s\\) answer"):
        documents.require_fields("image", "answer")(docs.remove_columns("answer"))
    doc = docs[2]
    doc["image"] = {"bytes": doc["image"]["bytes"][:40], "path": None}
    with pytest.raises(RevisionError, match="row question_id=color/0001.png: does not decode as an image"):
        documents.image(doc)
    logic = tasks["revision_visulogic"].test_docs()[0]
    with pytest.raises(RevisionError, match="images.zip: holds no images/99999.png"):
        documents.visulogic_image({**logic, "image_path": "images/99999.png"})
