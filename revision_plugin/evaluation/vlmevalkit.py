"""VLMEvalKit on a trained checkpoint: makes it one of VLMEvalKit's models and runs VLMEvalKit's own command.

`python -m revision_plugin.evaluation.vlmevalkit --model CHECKPOINT -- <flags of its run.py>`. VLMEvalKit skips a
benchmark that fails and still ends well; here that ends in one line and status 2.
"""

from __future__ import annotations

import argparse
import functools
import importlib
import importlib.util
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

from .._common.devices import choose_device
from .._common.distributed import launched_rank
from .._common.files import hash_json
from ..corpora.pixels import open_image
from ..corpora.texts import text_problem
from ..encoders import allow_remote_code
from ..errors import RevisionError, library_failures, one_line
from ..hosts import find_host
from .placement import require_checkpoint
from .run_environment import checkpoint_state

PACKAGE = "vlmeval"
INSTALL = "'pip install -e' a checkout of VLMEvalKit (docs/vlmevalkit.md)"
RULES = "exact_matching"  # VLMEvalKit's judge that asks no other model
MAX_NEW_TOKENS = 512  # VLMEvalKit's prompts let a model reason; what ends by itself is not changed by it
FOREIGN = {
    "model": "--model stands before the '--', and is a checkpoint",
    "config": "--config chooses VLMEvalKit's models; give --data, with --data-config for tables of your own",
    "base_url": "--base-url asks a server",
    "api_mode": "--api-mode asks a server",
    "use_vllm": "--use-vllm loads VLMEvalKit's models",
}


class Answers:
    """What VLMEvalKit's `BaseModel` leaves to a model: greedy answers about one image, or none, as `revision ask`
    gives them.
    """

    INTERLEAVE = False  # an image, and then all text

    def __init__(
        self,
        pretrained: str,
        *,
        base: str | None = None,
        blind: bool = False,
        conversation: str | None = None,
        max_new_tokens: int = MAX_NEW_TOKENS,
        device: str | None = None,
    ):
        super().__init__()
        self.blind, self.max_new_tokens = blind, max_new_tokens
        place = choose_device(device)  # not before: VLMEvalKit's command gives each process its GPUs
        self.assistant = find_host(model=pretrained).load(
            pretrained, base=base, device=str(place), template=conversation
        )

    def generate_inner(self, message: Sequence[dict[str, Any]], dataset: str | None = None) -> str:
        """The answer to one question, whose parts are `{"type": "image", "value": PATH}` and `{"type": "text", ...}`.

        Raises RevisionError for several images, a video, and what the model cannot be given.
        """
        kinds = {part["type"] for part in message} - {"image", "text"}
        if kinds:
            raise RevisionError(f"a question comes with a {min(kinds)}; these models see one image")
        paths = [] if self.blind else [Path(part["value"]) for part in message if part["type"] == "image"]
        if len(paths) > 1:
            raise RevisionError(f"a question has {len(paths)} images ({paths[0]}, ...); these models see one")
        question = "\n".join(part["value"] for part in message if part["type"] == "text")
        problem = text_problem(question)
        if problem:
            raise RevisionError(f"the question '{question[:60]}' {problem}")
        images = [open_image(path) for path in paths] or None
        return self.assistant.ask(images, [question], max_new_tokens=self.max_new_tokens)[0]


def load_model(pretrained: str, **how) -> Any:
    """VLMEvalKit's model of the checkpoint `pretrained`; `how` are the arguments of `Answers`."""
    base_model = importlib.import_module(f"{PACKAGE}.vlm").BaseModel
    return type("LlavaRevision", (Answers, base_model), {})(pretrained, **how)


def evaluate(model: Path, flags: Sequence[str], **how) -> Path:
    """Run VLMEvalKit's command with `flags` on the checkpoint `model`, asked as `how` (the arguments of `Answers`)
    says; gives the folder of its results.

    Raises RevisionError where VLMEvalKit is missing or gives no result for a benchmark, with its first error.
    """
    require_checkpoint(model, how.get("base"))
    script = _script()
    command = _import(script)
    sys.argv = [str(script), *flags]
    options = command.parse_args()
    for name, reason in FOREIGN.items():
        if getattr(options, name, None):
            raise RevisionError(f"after '--': {reason}")
    if not options.data:
        raise RevisionError("no benchmark is named; put them after '--': -- --data MMStar")
    _check_data_root()
    name = model_name(model, how)
    supported_models = importlib.import_module(f"{PACKAGE}.config").supported_VLM
    supported_models[name] = functools.partial(load_model, os.path.abspath(model), **how)
    work = Path(os.environ.get("MMEVAL_ROOT", options.work_dir)).resolve()
    sys.argv += ["--model", name, "--work-dir", str(work)]  # whole: its report looks for the answers beside itself
    if options.judge is None:  # the model of an API, else; where none answers, it matches by rules under that name
        sys.argv += ["--judge", RULES]
    results = work / name
    before = set(results.glob("T*"))
    command.main()
    runs = sorted(path for path in results.glob("T*") if path not in before)
    if launched_rank() == 0:
        if not runs:
            raise RevisionError(f"VLMEvalKit wrote nothing new under {results}; its output says why")
        require_results(runs[-1], options.data)
    return runs[-1] if runs else results


def model_name(model: Path, how: dict[str, Any]) -> str:
    """The name under which VLMEvalKit keeps a checkpoint's answers. It tells checkpoints of one name apart, and ways of
    asking them, since `--reuse` goes by the name alone; in lower case it is none of the names that VLMEvalKit treats
    as those of its own models.
    """
    settings = {key: value for key, value in how.items() if key != "device"}
    base = how.get("base")
    state = [checkpoint_state(str(model)), checkpoint_state(base) if base else None, settings]
    readable = re.sub(r"[^a-z0-9]+", "-", os.path.basename(os.path.abspath(model)).lower()).strip("-") or "checkpoint"
    return f"{readable}-{hash_json(state)[:8]}"


def require_results(run: Path, benchmarks: Sequence[str]) -> None:
    """Raise RevisionError unless every question of `benchmarks` has an answer in the folder `run` and scoring ended
    well, as far as VLMEvalKit's own report of the run says.
    """
    report = importlib.import_module(f"{PACKAGE}.smp").collect_run_benchmark_report(str(run))
    rows = {row["benchmark"]: row for row in report}
    for name in benchmarks:
        row = rows.get(name, {})
        if row.get("eval_error"):
            reason = str(row["eval_error"]).strip().partition("\n")[0]
        elif not row.get("infer_total"):
            skipped = row.get("skip_reason")
            reason = (
                f"VLMEvalKit skipped it as '{skipped}'"
                if skipped
                else "no predictions came, VLMEvalKit's output says why"
            )
        elif row.get("infer_failed"):
            reason = f"{row['infer_failed']} of {row['infer_total']} questions got no answer"
        else:
            continue
        raise RevisionError(f"no result for {name}: {reason} (more in VLMEvalKit's output; its files lie in {run})")


def _script() -> Path:
    """VLMEvalKit's `run.py`, which lies beside its package and is not part of it."""
    found = importlib.util.find_spec(PACKAGE)
    if found is None or found.origin is None:
        raise RevisionError(f"VLMEvalKit is not installed; {INSTALL}")
    script = Path(found.origin).parents[1] / "run.py"
    if not script.is_file():
        raise RevisionError(f"{script}: no such file, VLMEvalKit is not installed from a checkout; {INSTALL}")
    return script


def _import(script: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(script.stem, script)  # its log goes by this name
    if spec is None or spec.loader is None:
        raise RevisionError(f"{script}: cannot be imported; {INSTALL}")
    module = importlib.util.module_from_spec(spec)
    with library_failures(f"VLMEvalKit does not import; {INSTALL}"):
        spec.loader.exec_module(module)
    return module


def _check_data_root() -> None:
    root = os.environ.get("LMUData")
    if root is not None and not Path(root).is_dir():
        raise RevisionError(f"LMUData={root}: no such folder; VLMEvalKit would read and fill another one in its place")


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise RevisionError(f"{message}; see '{self.prog} --help'")


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10 and int(text) > 0):
        raise argparse.ArgumentTypeError(f"a whole number of at least 1 is needed, not {text[:40]}")
    return int(text)


def build_parser() -> argparse.ArgumentParser:
    """The flags before the '--'."""
    parser = _Parser(
        prog="python -m revision_plugin.evaluation.vlmevalkit",
        usage="%(prog)s --model CHECKPOINT [flags] -- --data BENCHMARK ... [flags of VLMEvalKit's run.py]",
        description="Score a checkpoint through VLMEvalKit.",
        allow_abbrev=False,
    )
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--base", help="the language model of a Stage-1 or LoRA checkpoint")
    parser.add_argument("--blind", action="store_true", help="ask without the images")
    parser.add_argument("--conversation", help="another template than the checkpoint's own")
    parser.add_argument("--max-new-tokens", type=_count, default=MAX_NEW_TOKENS, help="default %(default)s")
    parser.add_argument("--device", help="cpu, cuda or cuda:N (default: the GPU that is there)")
    parser.add_argument("--trust-remote-code", action="store_true", help="run code that the encoder's model brings")
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point. Exits with status 2 and one line where a benchmark has no result."""
    words = list(sys.argv[1:] if argv is None else argv)
    cut = words.index("--") if "--" in words else len(words)
    with one_line(interrupted="repeat the command with --reuse behind it to go on"):
        own = vars(build_parser().parse_args(words[:cut]))
        model = own.pop("model")
        if own.pop("trust_remote_code"):
            allow_remote_code()
        print(f"results in {evaluate(model, words[cut + 1 :], **own)}")


if __name__ == "__main__":
    main()
