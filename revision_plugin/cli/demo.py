"""`revision demo`: a page in which checkpoints are asked about images, side by side."""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path

from .._common.devices import choose_device
from ..chat.answering import MOST_NEW_TOKENS, Respondent, folder_name, load_respondents, named_models
from ..chat.embedding_space import EmbeddingSpace
from ..chat.example_pictures import write_examples
from ..chat.uploads import upload_folder
from ..embeddings.item_views import of_view
from ..embeddings.store import Store
from ..errors import RevisionError
from .arguments import add_consent, add_device, add_view, use_consent, whole


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model",
        action="append",
        default=[],
        required=True,
        metavar="[NAME=]CHECKPOINT",
        help="may be repeated: each answers in a column of its own, called by its folder or by NAME",
    )
    parser.add_argument("--base", help="the language model of Stage-1 and LoRA checkpoints (default: as run.json says)")
    parser.add_argument("--max-new-tokens", type=whole(1, MOST_NEW_TOKENS), default=64, help="(default 64)")
    seen = parser.add_argument_group("what it sees")
    seen.add_argument("--source", type=Path, help="text store, whose captions nearest to the image are shown")
    seen.add_argument("--target", type=Path, help="image store; both give the picture of where the image lies")
    seen.add_argument("--aligner", type=Path, help="fitted aligner: the nearest captions after alignment, too")
    seen.add_argument("--stage1", metavar="CHECKPOINT", help="Stage-1 output: the caption it reads out of the image")
    add_view(parser)
    where = parser.add_argument_group("where the page is served")
    where.add_argument("--host", default="127.0.0.1", help="(default 127.0.0.1: reached from this machine alone)")
    where.add_argument("--port", type=whole(1, 65535), help="(default: the first free one from 7860)")
    where.add_argument(
        "--share",
        action="store_true",
        help="open a public tunnel through a server of gradio's: everyone with the link can use the page (default: no)",
    )
    add_device(parser)
    add_consent(parser)


def run(a: argparse.Namespace) -> None:
    page, serving = _gradio_files()
    use_consent(a)
    if (a.source is None) != (a.target is None):
        given, missing = ("source", "target") if a.target is None else ("target", "source")
        raise RevisionError(f"--{given}: texts are compared with images; give --{missing}, too")
    for flag in ("aligner", "view"):
        if getattr(a, flag) is not None and a.source is None:
            raise RevisionError(f"--{flag} {getattr(a, flag)}: is for stores; give --source and --target, too")
    device = str(choose_device(a.device))
    space = None
    if a.source is not None:
        source, target = (of_view(Store.open(path), a.view) for path in (a.source, a.target))
        space = EmbeddingSpace.open(source, target, a.aligner, device=device)
    models = named_models(a.model)
    extra = [(folder_name(a.stage1), a.stage1)] if a.stage1 else []
    respondents = load_respondents([*models, *extra], base=a.base, device=device)
    reader = _reader(respondents, a.stage1)
    with upload_folder(a.host) as folder:
        blocks = page.build_page(
            respondents[: len(models)],
            space=space,
            reader=reader,
            examples=write_examples(folder / "examples"),
            max_new_tokens=a.max_new_tokens,
        )
        serving.serve(blocks, host=a.host, port=a.port, share=a.share)


def _gradio_files():
    try:
        return tuple(importlib.import_module(f"revision_plugin.chat.{name}") for name in ("chat_page", "serving"))
    except ImportError as error:
        raise RevisionError(
            f"demo: its page needs gradio, which is not installed ({error}); pip install 'gradio>=6'"
        ) from None


def _reader(respondents: list[Respondent], stage1: str | None) -> Respondent | None:
    """The checkpoint that writes captions: --stage1, else the first --model that is pretrained only."""
    if stage1 is None:
        return next((each for each in respondents if each.captions), None)
    if not respondents[-1].captions:
        raise RevisionError(f"--stage1 {stage1}: answers questions, so is no output of Stage 1; give it with --model")
    return respondents[-1]
