"""lmms-eval's own flags through `revision evaluate`, and what lmms-eval asks of a model beside them."""

import json
import re
import shlex
import sys

import benchmark_data
import pytest
import torch
from conftest import ROOT, evaluate_words, run_revision

from revision_plugin.demo import corpus, world
from revision_plugin.errors import RevisionError
from revision_plugin.evaluation import harness_flags
from revision_plugin.evaluation.batch_size import AUTO_ON_CPU, MOST, BatchSize
from revision_plugin.evaluation.generation import cut, require_greedy, stop_strings
from revision_plugin.evaluation.harness_flags import read_flags

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)


def test_every_flag_of_the_installed_lmms_eval_is_passed_or_refused(monkeypatch):
    import lmms_eval.__main__ as command

    monkeypatch.setattr(sys, "argv", ["lmms-eval"])
    parser, _ = command.parse_eval_args()
    theirs = {name: action for action in parser._actions for name in action.option_strings}
    passed = {name: flag for flag in harness_flags.PASSED for name in flag.names}
    assert theirs.keys() == passed.keys() | harness_flags.REFUSED.keys()
    assert not passed.keys() & harness_flags.REFUSED.keys()
    assert {name for name in passed if theirs[name].nargs == 0} == {n for n, flag in passed.items() if not flag.read}


@pytest.mark.parametrize(
    "words, line",
    [
        ("--model x", "lmms-eval's --model: .* before '--' as --model"),
        ("--model_args=pretrained=x", "lmms-eval's --model_args: give --model, --base"),
        ("--tasks mme", "give it before '--' as --tasks"),
        ("--include_path x", "scored by lmms-eval itself, with --model llava_revision"),
        ("--output_path x", "give it before '--' as --out"),
        ("--limit 3", "give it before '--' as --limit"),
        ("-b 3", "give it before '--' as --batch-size"),
        ("--device cpu", "give it before '--' as --device"),
        ("--use_cache x", "answers are kept under --out already"),
        ("--apply_chat_template", "conversation template that it was trained in"),
        ("--system_instruction x", "conversation template that it was trained in"),
        ("--fewshot_as_multiturn", "asked without examples"),
        ("--num_fewshot 2", "--num_fewshot: 0 is needed, not 2: these tasks are asked without examples"),
        ("--repeats 2", "greedy replies are the same every time"),
        ("--foo 3", "lmms-eval has no flag --foo"),
        ("--verb INFO", "lmms-eval has no flag --verb"),
        ("word", "lmms-eval has no flag word"),
        ("--offset -1", "--offset: at least 0 is needed, not -1"),
        ("--offset", "--offset: expected one argument"),
        ("--offset 1 --offset=2", "--offset is given twice"),
        ("--verbosity loud", "invalid choice: 'loud'"),
        ("--seed 1,2", "1, 3 or 4 whole numbers or None"),
        ("--timezone Mars", "no time zone 'Mars'"),
        ("--wandb_log_samples", "give --wandb_args, too"),
        ("--wandb_args x", "NAME=VALUE"),
        ("--hf_hub_log_args output_path=x", "its output_path is --out"),
        ("--max_batch_size 8", "bounds --batch-size auto"),
        ("--gen_kwargs temperature=0.7", "--gen_kwargs: .* with temperature 0, not 0.7"),
        ("--gen_kwargs x", "NAME=VALUE"),
    ],
)
def test_what_is_refused_in_one_line(words, line):
    with pytest.raises(RevisionError, match=line) as caught:
        read_flags(words.split())
    assert "\n" not in str(caught.value)


def test_what_is_passed_and_what_makes_another_run():
    words = ["--offset", "5", "--seed=7", "--gen_kwargs", "max_new_tokens=4", "--verbosity", "DEBUG", "--log_samples"]
    flags = read_flags(words)
    assert flags.words == words
    assert flags.settings == {"offset": 5, "seed": "7", "gen_kwargs": "max_new_tokens=4"}
    assert read_flags(
        ["--offset", "0", "--num_fewshot", "0", "-n", "1", "--max_batch_size", "4"], batch_size="auto"
    ) == (harness_flags.HarnessFlags(words=["--offset", "0", "--num_fewshot", "0", "-n", "1", "--max_batch_size", "4"]))
    assert "--log_samples_suffix" in read_flags(["--log_samples_suffix", "x"]).notes[0]


def test_a_logger_that_is_not_installed(monkeypatch):
    monkeypatch.setattr(harness_flags, "find_spec", lambda name: None)
    with pytest.raises(RevisionError, match="wandb is not installed; 'pip install wandb'"):
        read_flags(["--wandb_args", "project=x"])


def test_the_commands_own_values():
    for value in ("1.0", "0", "0.0", "1.5", "-1", "x"):
        line = run_revision("evaluate", "--model", "m", "--out", "o", "--limit", value, expect=2).stderr
        assert re.match("error: argument --limit: (a |invalid )", line), line
    line = run_revision("evaluate", "--model", "m", "--out", "o", "--batch-size", "auto:3", expect=2).stderr
    assert "argument --batch-size: a whole number of at least 1 is needed" in line
    line = run_revision("evaluate", "--model", "m", "--out", "o", "--", "--foo", expect=2).stderr
    assert line.startswith("error: lmms-eval has no flag --foo")
    line = run_revision("evaluate", "--model", "m", "--out", "o", "--load-4bit", "--load-8bit", expect=2).stderr
    assert line == "error: a model loads in 4 bits or in 8, not in both; leave one out\n"


def test_greedy_settings():
    neutral = {"do_sample": False, "temperature": 0.0, "num_beams": 1, "top_p": None, "top_k": 1, "until": ["\n\n"]}
    require_greedy({"max_new_tokens": 7, **neutral}, "task")
    require_greedy({"temperature": "None", "top_p": 1.0, "repetition_penalty": None}, "task")
    for name, value in {
        "do_sample": True,
        "temperature": 0.2,
        "num_beams": 5,
        "top_p": 0.9,
        "top_k": 50,
        "repetition_penalty": 1.2,
        "max_new_tokens": 0,
    }.items():
        with pytest.raises(RevisionError, match=f"task: .*{name}.* {value}"):
            require_greedy({name: value}, "task")
    with pytest.raises(RevisionError, match="task: llava_revision knows no image_aspect_ratio"):
        require_greedy({"image_aspect_ratio": "original"}, "task")
    with pytest.raises(RevisionError, match="max_new_tokens must be a whole number"):
        require_greedy({"max_new_tokens": 7.5}, "task")


def test_stop_strings():
    assert stop_strings({"until": "."}, "t") == ["."] and stop_strings({"until": [".", ""]}, "t") == ["."]
    assert stop_strings({"until": '["a", "b"]'}, "t") == ["a", "b"] and stop_strings({"until": None}, "t") == []
    assert cut("one. two, three", [",", "."]) == "one" and cut("one", []) == "one"
    for wrong in (7, [7], "[a]", {"a": 1}):
        with pytest.raises(RevisionError, match="t: until"):
            stop_strings({"until": wrong}, "t")


class Memory:
    """Answers in which no more than `most` questions fit."""

    def __init__(self, most):
        self.most, self.sizes, self.answered = most, [], []

    def __call__(self, part):
        self.sizes.append(len(part))
        if len(part) > self.most:
            try:
                raise torch.cuda.OutOfMemoryError("out of memory")
            except torch.cuda.OutOfMemoryError as error:
                raise RevisionError("does not answer") from error
        self.answered += part


def test_the_largest_batch_that_fits():
    memory, size = Memory(most=10), BatchSize("auto", GPU)
    assert size.size == MOST
    size.run(list(range(MOST)), memory)
    assert memory.answered == list(range(MOST)) and size.size == MOST // 8
    assert memory.sizes == [64, 32, 16] + [8] * 8
    assert BatchSize("auto", GPU, 16).size == 16
    assert BatchSize("auto", CPU).size == AUTO_ON_CPU and BatchSize("3", CPU).size == 3
    with pytest.raises(RevisionError, match="the memory does not suffice for a single question"):
        BatchSize("auto", GPU).run(list(range(4)), Memory(most=0))
    with pytest.raises(RevisionError, match="does not answer"):  # a number that was given stays
        BatchSize(4, GPU).run(list(range(4)), Memory(most=2))
    for wrong in ("auto:4", "0", "many", None):
        with pytest.raises(RevisionError, match="batch_size must be a whole number of at least 1, or auto"):
            BatchSize(wrong, CPU)


@pytest.fixture(scope="module")
def benchmark(tmp_path_factory):
    scenes = world.sample_scenes(3, seed=5, held_out=True, distinct=True)
    return corpus.write_benchmark(scenes, tmp_path_factory.mktemp("benchmark"), seed=5)


def samples(out):
    """Row number -> what was asked and replied, in the newest run."""
    path = max(out.rglob("*_samples_revision_demo.jsonl"), key=lambda path: path.stat().st_mtime_ns)
    return {row["doc_id"]: (row["input"], row["filtered_resps"]) for row in map(json.loads, path.open())}


def result(out):
    return json.loads(max(out.rglob("*_results.json"), key=lambda path: path.stat().st_mtime_ns).read_text())


def evaluate(model, benchmark, out, *flags, expect=0, cwd="."):
    return run_revision(*evaluate_words(model, benchmark, out), *flags, expect=expect, timeout=600, cwd=cwd)


@pytest.mark.slow
def test_offset_seed_and_stop_strings_through_the_command(benchmark, stage2, tmp_path):
    out = tmp_path / "out"
    evaluate(stage2, benchmark, tmp_path / "whole")
    whole = samples(tmp_path / "whole")
    stop = whole[5][1].split()[1]
    flags = ("--limit", 3, "--", "--offset", 5, "--seed", 7, "--gen_kwargs", f"until={stop},max_new_tokens=5")
    evaluate(stage2, benchmark, out, *flags)
    assert json.loads((out / "evaluation.json").read_text())["offset"] == 5
    assert sorted(samples(out)) == [5, 6, 7]
    assert all(
        stop not in reply and whole[row][1].startswith(reply.strip()) for row, (_, reply) in samples(out).items()
    )
    (answers,) = (out / "answers").glob("*.jsonl")
    assert stop in json.loads(answers.read_text().splitlines()[0])["answer"]
    record = result(out)
    assert record["n-samples"]["revision_demo"] == {"original": len(whole), "effective": 3}
    assert record["config"]["random_seed"] == record["config"]["torch_seed"] == 7
    other = [word if word != 5 else 6 for word in flags]
    line = evaluate(stage2, benchmark, out, *other, expect=2).stderr
    assert "holds a stopped run with another offset; repeat its command" in line
    evaluate(stage2, benchmark, out, *flags, "--verbosity", "WARNING")  # what is shown is no other run
    assert len(answers.read_text().splitlines()) == 3
    evaluate(stage2, benchmark, tmp_path / "rest", "--", "--offset", 4)
    assert result(tmp_path / "rest")["n-samples"]["revision_demo"]["effective"] == len(whole) - 4
    assert samples(tmp_path / "rest") == {row: whole[row] for row in range(4, len(whole))}


@pytest.mark.slow
def test_a_share_of_every_task_in_batches_chosen_by_the_program(stage2, tmp_path):
    mirror = benchmark_data.write_all(tmp_path / "mirror")
    words = list(evaluate_words(stage2, mirror, tmp_path / "out"))
    words[words.index("demo")] = "scienceqa,realworldqa"
    done = run_revision(*words, "--limit", "0.5", "--batch-size", "auto", timeout=600)
    assert "| out (limited) |" in done.stdout and f"batch size chosen: {AUTO_ON_CPU}" in done.stderr
    record = result(tmp_path / "out")
    assert record["n-samples"] == {
        "revision_scienceqa": {"original": 7, "effective": 4},
        "revision_realworldqa": {"original": 4, "effective": 2},
    }
    assert record["config"]["limit"] == 0.5 and record["config"]["batch_sizes"] == [AUTO_ON_CPU]
    assert json.loads((tmp_path / "out" / "evaluation.json").read_text())["limit"] == 0.5


@pytest.mark.slow
def test_weights_and_biases_offline(benchmark, stage2, tmp_path):
    flags = ("--wandb_args", "project=x,mode=offline", "--wandb_log_samples", "--log_samples_suffix", "x")
    done = evaluate(stage2, benchmark, tmp_path / "out", "--limit", 2, "--", *flags, cwd=tmp_path)
    assert "Logging to Weights and Biases failed" not in done.stderr
    assert "lmms-eval does nothing with its --log_samples_suffix" in done.stderr
    (table,) = (tmp_path / "wandb").rglob("revision_demo_eval_results*.table.json")
    logged = json.loads(table.read_text())
    columns = [logged["columns"].index(name) for name in ("data", "raw_predictions", "filtered_predictions")]
    asked = [tuple(row[column] for column in columns) for row in logged["data"]]
    assert asked == [(question, reply, reply) for question, reply in samples(tmp_path / "out").values()]


@pytest.mark.slow
def test_the_evaluation_pages_commands(benchmark, stage2, tmp_path):
    """Typed in a folder that holds what the page names."""
    (blocks,) = re.findall(r"```bash\n(.*?)```", (ROOT / "docs" / "evaluation.md").read_text(), re.S)
    (tmp_path / "llava-revision").symlink_to(stage2)
    (tmp_path / "data").symlink_to(benchmark)
    lines = blocks.strip().splitlines()
    assert len(lines) == 3 and all(line.startswith("revision ") for line in lines)
    printed = [run_revision(*shlex.split(line)[1:], cwd=tmp_path, timeout=600).stdout for line in lines]
    assert "revision_demo: accuracy" in printed[0] and "revision_demo: accuracy" in printed[1]
    assert "50.16 (printed 51.16)" in printed[2]
