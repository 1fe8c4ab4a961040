"""The card of an exported model: what was trained on what, how it was checked, how it is run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from .._common.files import hash_file, read_object, without_folders
from .._common.markdown import table
from ..aligners import load_aligner
from ..aligners.base import RECORD as ALIGNER_RECORD
from ..encoders.image_side import ImageSide
from ..errors import RevisionError, shown
from ..evaluation.results import METRIC, read_results, result_files
from ..hosts.checkpoint_parts import CheckpointParts
from ..hosts.prompt_form import CaptionPrompt
from ..hosts.run_record import RECORD
from .cards import citation, code, head
from .equality import Equality

PROJECTOR_FLAG, ALIGNER_FLAG = "--pretrain_mm_mlp_adapter", "--revision_aligner"
# of a training's flags, those that say what it learned from what
SHOWN_FLAGS = (
    "--model_name_or_path",
    "--data_path",
    "--image_folder",
    "--revision_encoder",
    "--revision_aligner",
    "--revision_part_aligner",
    "--revision_store",
    "--revision_image_store",
    "--revision_views",
    "--revision_tokens",
    "--version",
    "--max_steps",
    "--num_train_epochs",
    "--per_device_train_batch_size",
    "--gradient_accumulation_steps",
    "--learning_rate",
    "--lora_r",
    "--bits",
    "--seed",
)
STAGES = {True: "Stage 1, the projector", False: "Stage 2, language model and projector"}
TAGS = ["revision", "llava", "text-only-pretraining"]


@dataclass(frozen=True)
class History:
    """What is known of a checkpoint's past: run.json of its training and of Stage 1, whose projector it began with
    (None where they are gone), and its accuracies by task, from 0 to 1.
    """

    training: dict | None
    stage1: dict | None
    scores: dict[str, float]

    @classmethod
    def read(cls, model: Path, results: Sequence[Path]) -> History:
        """The past of the checkpoint `model`, with the scores in the folders `results`. Raises RevisionError for a
        run.json that no training wrote, and for a folder without scores.
        """
        training, stage1 = _record(model), None
        projector = training["command"].get(PROJECTOR_FLAG) if training else None
        if training and projector is not None and Path(projector).is_file():
            same = training["inputs"].get(PROJECTOR_FLAG) == hash_file(Path(projector))
            stage1 = _record(Path(projector).parent) if same else None
        return cls(training, stage1, {task: value for folder in results for task, value in _accuracies(folder)})


def model_card(parts: CheckpointParts, side: ImageSide, history: History, equality: Equality | None, name: str) -> str:
    """The README.md of the exported folder, which holds `side`. `name` is what the model is called: OWNER/NAME where it
    is on the hub. Of local files it names the last part alone.
    """
    sections = [
        head(library_name="transformers", pipeline_tag="image-text-to-text", tags=TAGS) + f"\n# {shown(name)}",
        "LLaVA with one vector a view of an image: a frozen contrastive encoder's global embedding goes through the "
        "projector into a language model. Trained with revision-plugin after ReVision (arXiv 2602.07026): the "
        "projector learns from text alone, from text embeddings that are moved into the image distribution.",
        _parts_table(parts),
        *_trainings(history),
        _scores(history.scores),
        _equality(equality),
        _usage(parts, side, name),
        _licences(parts, history),
        citation(),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _parts_table(parts: CheckpointParts) -> str:
    views = "the whole image" if parts.views.count == 1 else f"`{parts.views}`, {parts.views.count} views of an image"
    rows = [
        ("language model", f"{parts.text_config.model_type}, {_count(parts.text_state.values())} parameters"),
        ("image encoder", f"{code(without_folders(parts.encoder.spec))}, {parts.encoder.dim} dimensions, {views}"),
        ("visual tokens", f"{parts.visual_tokens} an image"),
        ("prompt", f"{code(parts.record.get('conversation'))}, written in `chat_template.jinja`"),
        ("encoder's fingerprint", f"`{parts.encoder.image_identity.fingerprint}`"),
    ]
    return "## What is inside\n\n" + table(("part", ""), rows)


def _count(tensors) -> str:
    number = sum(tensor.numel() for tensor in tensors)
    return f"{number / 1e9:.1f} billion" if number >= 1e9 else f"{number / 1e6:.1f} million"


def _trainings(history: History) -> Iterator[str]:
    """A section for each training that left a run.json: this one, and the one whose projector it began with."""
    if history.training is None:
        yield "## How it was trained\n\nNo run.json lies beside the checkpoint, so nothing is known of its training."
        return
    if history.stage1 is not None:
        yield _training(history.stage1)
    elif PROJECTOR_FLAG in history.training["command"]:
        yield "## Stage 1, the projector\n\nIts run.json is no longer where the training found the projector."
    yield _training(history.training)


def _record(folder: Path) -> dict | None:
    """A training's run.json. Raises RevisionError for one that no training wrote."""
    path = folder / RECORD
    if not path.is_file():
        return None
    record = read_object(path)
    if not isinstance(record.get("command"), dict) or not isinstance(record.get("inputs"), dict):
        raise RevisionError(f"{path}: was not written by a training; put the original back, or move it away")
    return record


def _training(record: dict) -> str:
    command, inputs = record["command"], record["inputs"]
    stage1 = command.get("--tune_mm_mlp_adapter") == "True"
    rows = [
        (
            f"`{flag}`",
            code(without_folders(command[flag])) + (f" ({code(inputs[flag][:16])})" if inputs.get(flag) else ""),
        )
        for flag in SHOWN_FLAGS
        if flag in command
    ]
    if "--image_folder" not in command:
        rows.append(("images", "none: text only"))
    versions = record.get("versions", {})
    rows.append(
        ("versions", ", ".join(f"{name} {versions[name]}" for name in ("torch", "transformers") if name in versions))
    )
    gap = _aligner_line(command.get(ALIGNER_FLAG), inputs.get(ALIGNER_FLAG))
    return (
        f"## {STAGES[stage1]}\n\n"
        + table(("flag", "value (and its content's hash)"), rows)
        + (f"\n\n{gap}" if gap else "")
    )


def _aligner_line(folder: str | None, content: str | None) -> str:
    """What the aligner of a training did to the gap, as far as it is still there."""
    if folder is None:
        return ""
    if not Path(folder).is_dir():
        return f"The aligner {code(without_folders(folder))} is no longer where the training found it."
    if read_object(Path(folder) / ALIGNER_RECORD).get("parameters_hash") != content:
        return f"The aligner {code(without_folders(folder))} is another one now than in the training."
    aligner = load_aligner(folder)
    report = aligner.report
    held_out = f", on held-out rows {report.held_out.centroid_gap:.4g}" if report.held_out else ""
    return (
        f"Aligner `{aligner.method}`, fitted on {report.source.count} texts and {report.target.count} images without "
        f"pairs: centroid gap {report.centroid_gap_before:.4g} before, {report.gap_after} after{held_out}."
    )


def _accuracies(folder: Path) -> list[tuple[str, float]]:
    found = [
        (task, float(result[METRIC]))
        for file in result_files(folder)
        for task, result in read_results(file).items()
        if METRIC in result
    ]
    if not found:
        raise RevisionError(f"--results {folder}: no results of `revision evaluate` in it")
    return found


def _scores(scores: dict[str, float]) -> str:
    rows = [(task, f"{100 * accuracy:.1f}") for task, accuracy in sorted(scores.items())]
    return "## Scores\n\n" + table(("task", "accuracy, %"), rows) if rows else ""


def _equality(equality: Equality | None) -> str:
    if equality is None:
        return "## Equality\n\nNot compared with the trained checkpoint."
    return (
        f"## Equality\n\nCompared with the trained checkpoint on {equality.questions} images in float32 on a CPU, with "
        f"transformers {version('transformers')} and torch {version('torch')}: the same tokens, pixels and answers; "
        f"logits differ by at most {equality.logits:.1e}."
    )


def _usage(parts: CheckpointParts, side: ImageSide, name: str) -> str:
    needs = "transformers" + (" and open_clip_torch" if side.library == "open_clip" else "")
    question = (
        "" if isinstance(parts.prompt, CaptionPrompt) else ', {"type": "text", "text": "What is in the picture?"}'
    )
    return f"""## How to run it

With {needs}. `modeling_revision.py`, the module that defines the vision tower, is code: read it, then say
`trust_remote_code=True`.

```python
from transformers import AutoModelForImageTextToText, AutoProcessor

model = AutoModelForImageTextToText.from_pretrained("{name}", trust_remote_code=True)
processor = AutoProcessor.from_pretrained("{name}", trust_remote_code=True)
messages = [{{"role": "user", "content": [{{"type": "image", "image": "picture.png"}}{question}]}}]
inputs = processor.apply_chat_template(
    messages, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
)
output = model.generate(**inputs, max_new_tokens=64)
print(processor.decode(output[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True))
```

As a pipeline:

```python
from transformers import pipeline

ask = pipeline("image-text-to-text", model="{name}", trust_remote_code=True)
print(ask(text=messages, max_new_tokens=64, return_full_text=False)[0]["generated_text"])
```

Over HTTP, as OpenAI's interface:

```bash
transformers serve --trust-remote-code
curl http://localhost:8000/v1/chat/completions -H "Content-Type: application/json" -d '{{"model": "{name}", "messages":
  [{{"role": "user", "content": [{{"type": "image_url", "image_url": {{"url": "https://..."}}}}{question}]}}]}}'
```"""


def _licences(parts: CheckpointParts, history: History) -> str:
    """What is known of the licences of the parts."""
    language_model = history.training["command"].get("--model_name_or_path") if history.training else None
    rows = [
        ("modeling_revision.py", "Apache-2.0"),
        ("language model", _licence(language_model)),
        ("image encoder", _licence(parts.encoder.spec.partition(":")[2])),
    ]
    return "## Licences\n\n" + table(("part", "licence"), rows) + "\n\nThe licences of the parts hold for the whole."


def _licence(name: str | None) -> str:
    """The licence in the card of a model's folder, as far as there is one."""
    card = Path(name) / "README.md" if name else None
    if card is not None and card.is_file():
        lines = card.read_text(encoding="utf-8", errors="replace").splitlines()
        found = [line.partition(":")[2].strip() for line in lines[:50] if line.startswith("license:")]
        if found:
            return found[0]
    return "not known here; see where the model came from"
