"""VLMEvalKit's own command on a real, tiny checkpoint, where REVISION_VLMEVALKIT gives a checkout of VLMEvalKit."""

import base64
import io
import json
import os
import re
import subprocess
import sys

import pandas as pd
import pytest
from conftest import ENVIRONMENT, ROOT, run_revision
from PIL import Image

from revision_plugin.demo import questions, world
from revision_plugin.evaluation import vlmevalkit
from revision_plugin.hosts import find_host

CHECKOUT = os.environ.get("REVISION_VLMEVALKIT")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not CHECKOUT, reason="VLMEvalKit is not on PyPI; REVISION_VLMEVALKIT names no checkout of it"),
]
_, COMMAND = re.findall(r"```bash\n(.*?)```", (ROOT / "docs" / "vlmevalkit.md").read_text(), re.S)
PROMPTS = """
import json, sys
from vlmeval.dataset import ImageYORNDataset, build_dataset
tables = [build_dataset("scenes_choice"), ImageYORNDataset(dataset="scenes_yes_no"), build_dataset("scenes_two")]
prompts = {table.dataset_name: [table.build_prompt(row) for _, row in table.data.iterrows()] for table in tables}
json.dump(prompts, open(sys.argv[1], "w"))
"""
LIMIT = 512  # the documented default


def png(pixels) -> str:
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "PNG")
    return base64.b64encode(data.getvalue()).decode()


@pytest.fixture(scope="module")
def place(stage2, tmp_path_factory):
    """A working directory with the checkpoint and three tables; its name has a space, a comma and brackets."""
    root = tmp_path_factory.mktemp("vlm") / "my [VLM], runs"
    (root / "tables").mkdir(parents=True)
    (root / "llava-revision").symlink_to(stage2)
    scenes = world.sample_scenes(6, seed=5, held_out=True, distinct=True)
    pictures = [png(each) for each in world.render_all(scenes, seed=5)]
    rows = {"yes_no": [], "choice": [], "two": []}
    for index, question in questions.questions(scenes, seed=5):
        row = {"question": question.text, "image": pictures[index], "category": question.kind}
        if question.kind == "existence":
            rows["yes_no"].append({**row, "answer": question.answer.capitalize()})
        elif question.kind == "color":
            others = [color for color in world.COLORS if color != question.answer][:3]
            options = dict(zip("ABCD", [*others, question.answer]))
            rows["choice"].append({**row, **options, "answer": "D"})
            rows["two"].append({**row, **options, "answer": "D", "image": str([pictures[0], pictures[index]])})
    for name, table in rows.items():
        assert len(table) == 6
        frame = pd.DataFrame(table).reset_index(names="index")
        frame.to_csv(root / "tables" / f"scenes_{name}.tsv", sep="\t", index=False)
    return root


def shell(command, place, expect=0):
    """A command line in `place`, as the documentation has it, offline."""
    paths = [CHECKOUT, os.environ.get("PYTHONPATH", str(ROOT))]
    environment = {
        **ENVIRONMENT,
        "PYTHONPATH": os.pathsep.join(paths),
        "LMUData": "tables",
        "HF_HUB_OFFLINE": "1",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    }
    done = subprocess.run(
        ["bash", "-euc", command], cwd=place, capture_output=True, text=True, env=environment, timeout=600
    )
    assert done.returncode == expect, f"exit {done.returncode}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done


def evaluate(words, place, expect=0):
    return shell(f"python -m revision_plugin.evaluation.vlmevalkit {words}", place, expect)


@pytest.fixture(scope="module")
def prompts(place):
    """The messages that VLMEvalKit's own tables make, by benchmark."""
    script, out = place / "prompts.py", place / "prompts.json"
    script.write_text(PROMPTS)
    shell("python prompts.py prompts.json", place)
    return json.loads(out.read_text())


def only(folder, pattern):
    (path,) = folder.glob(pattern)
    return path


def predictions(run, benchmark):
    """Answers and labels in VLMEvalKit's result file."""
    frame = pd.read_excel(only(run, f"*_{benchmark}.xlsx"), keep_default_na=False)
    return frame["prediction"].astype(str).tolist(), frame["answer"].tolist()


def run_folder(done, place):
    return place / re.findall(r"^results in (.+)$", done.stdout, re.M)[-1]


def test_the_documented_command_gives_the_answers_of_revision_ask(place, prompts):
    run = run_folder(shell(COMMAND, place), place)
    assert run.parent.parent == place / "outputs"
    asked = {}
    for benchmark in ("scenes_yes_no", "scenes_choice"):
        asked[benchmark] = []
        for image, text in prompts[benchmark]:
            printed = run_revision(
                *("ask", "--model", place / "llava-revision", "--image", place / image["value"], text["value"]),
                *("--max-new-tokens", LIMIT, "--device", "cpu", "--json"),
            )
            asked[benchmark].append(json.loads(printed.stdout)["answer"])
        assert predictions(run, benchmark)[0] == asked[benchmark]
    status = json.loads((run / "status.json").read_text())["datasets"]
    assert {each["judge_model"] for each in status.values()} == {"exact_matching"}
    labels = predictions(run, "scenes_yes_no")[1]
    said = [{"yes", "no"} & set(re.findall(r"[a-z]+", answer.lower())) for answer in asked["scenes_yes_no"]]
    right = sum(words == {label.lower()} for words, label in zip(said, labels))
    score = pd.read_csv(only(run, "*_scenes_yes_no_score.csv"))["Overall"][0]
    assert score == pytest.approx(100 * right / len(labels))
    assert "Overall" in pd.read_csv(only(run, "*_scenes_choice_acc.csv"))


def test_several_images_end_in_one_line_though_vlmevalkit_goes_on(place):
    done = evaluate(
        "--model llava-revision --max-new-tokens 4 -- --data scenes_two scenes_choice --work-dir 'two, images'",
        place,
        expect=2,
    )
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert "no result for scenes_two: a question has 2 images (" in line and "these models see one" in line
    answers, _ = predictions(only(place / "two, images", "llava-revision-*/T*"), "scenes_choice")
    assert len(answers) == 6, "the other benchmark is there"


def test_blind_asks_without_images(place, prompts):
    done = evaluate(
        "--model llava-revision --blind --max-new-tokens 9 --device cpu -- --data scenes_two --work-dir blind", place
    )
    assistant = find_host().load(str(place / "llava-revision"))
    texts = [message[-1]["value"] for message in prompts["scenes_two"]]
    expected = [assistant.ask(None, [text], max_new_tokens=9)[0] for text in texts]
    assert predictions(run_folder(done, place), "scenes_two")[0] == expected


@pytest.mark.parametrize(
    "words, line",
    [
        ("--data scenes_choice --model GPT4o", "--model stands before the '--'"),
        ("--config mine.json", "--config chooses VLMEvalKit's models"),
        ("--data nowhere", "no result for nowhere: VLMEvalKit skipped it as 'invalid_dataset'"),
    ],
)
def test_what_stands_behind_the_dashes_is_checked(words, line, place):
    done = evaluate(f"--model llava-revision -- {words}", place, expect=2)
    assert line in done.stderr.splitlines()[-1] and done.stderr.splitlines()[-1].startswith("error: ")


def test_a_checkpoint_that_is_none_is_refused_before_vlmevalkit_starts(tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        vlmevalkit.main(["--model", str(tmp_path / "nothing"), "--", "--data", "MMStar"])
    assert stopped.value.code == 2 and "nothing: no such checkpoint" in capsys.readouterr().err
    assert "vlmeval" not in sys.modules


def test_answers_are_kept_by_checkpoint_and_how_it_is_asked(stage1, stage2):
    names = {
        vlmevalkit.model_name(stage2, {"blind": False, "max_new_tokens": 8, "device": "cpu"}),
        vlmevalkit.model_name(stage2, {"blind": True, "max_new_tokens": 8}),
        vlmevalkit.model_name(stage2, {"blind": False, "max_new_tokens": 9}),
        vlmevalkit.model_name(stage1, {"blind": False, "max_new_tokens": 8}),
    }
    assert len(names) == 4
    assert vlmevalkit.model_name(stage2, {"blind": False, "max_new_tokens": 8}) in names, "whatever the device"
