"""The page itself, in gradio. Only `revision demo` imports it."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import Any

import gradio as gr

from ..errors import RevisionError, first_line
from .answering import MOST_CHARACTERS, MOST_NEW_TOKENS, Respondent
from .cloud_picture import draw
from .embedding_space import NEIGHBOURHOODS, EmbeddingSpace
from .sight_tables import cosine_table, missing_parts, neighbour_tables, problem_line
from .uploads import read_upload

WAITING = 16  # questions in the queue; further ones are refused
KEPT_SECONDS, SWEEP_SECONDS = 1800, 60  # how long an upload is kept, and how often old ones are removed
# events are for this page alone: programs have `revision ask`
HIDDEN: dict[str, Any] = {"api_visibility": "private"}
# and take uploads as they come: gradio's own preprocessing would open a file before any limit is asked
RAW: dict[str, Any] = {**HIDDEN, "preprocess": False}
GREETING = """# Ask the checkpoints
Drop an image, or choose an example, and ask. Answers are greedy: the same question gets the same answer, and it is the
one that `revision ask` prints. Images and questions stay on the machine on which the command runs.
"""


def build_page(
    respondents: Sequence[Respondent],
    *,
    space: EmbeddingSpace | None = None,
    reader: Respondent | None = None,
    examples: Sequence[tuple[str, str]] = (),
    max_new_tokens: int = 64,
) -> gr.Blocks:
    """The page: a column for each of the `respondents`, `examples` (path, question), and what is around an image in
    `space`, with the caption that `reader`, a pretrained-only checkpoint, reads out of it.
    """
    with gr.Blocks(title="revision demo", analytics_enabled=False, delete_cache=(SWEEP_SECONDS, KEPT_SECONDS)) as page:
        gr.Markdown(GREETING)
        question = gr.Textbox(
            label="Question", placeholder="what is in the image?", max_length=MOST_CHARACTERS, render=False
        )
        with gr.Row():
            with gr.Column(scale=2, min_width=280):
                picture = gr.Image(
                    label="Image",
                    type="filepath",
                    image_mode=None,
                    sources=["upload", "clipboard"],
                    height=300,
                    buttons=["fullscreen"],
                    elem_id="picture",
                )
                problem = gr.HTML(visible=False, elem_classes="problem", elem_id="problem")
                if examples:
                    shown = gr.Dataset(
                        components=[gr.Image(render=False)],
                        samples=[[path] for path, _ in examples],
                        type="index",
                        label="Examples, of the embedded world",
                        elem_id="examples",
                    )
                    chosen = functools.partial(_example, examples)
                    shown.click(chosen, shown, [picture, question, problem], queue=False, **HIDDEN)
            with gr.Column(scale=5, min_width=320), gr.Tabs():
                with gr.Tab("Ask"):
                    shows = _ask_tab(respondents, picture, question, max_new_tokens)
                with gr.Tab("What does it see?"):
                    shows += _sight_tab(picture, space, reader, max_new_tokens)
        # what was said of another image goes with it
        nothing = None if len(shows) == 1 else [None] * len(shows)
        picture.change(lambda: nothing, outputs=shows, queue=False, **HIDDEN)
        picture.input(_check, picture, [picture, problem], queue=False, **RAW)
    return page.queue(max_size=WAITING, default_concurrency_limit=1)


def _path(upload: dict | None) -> str | None:
    """The path of what was uploaded; gradio has seen to it that it lies in its own folder."""
    return None if upload is None else upload.get("path")


def _no_problem() -> Any:
    return gr.update(value="", visible=False)


def _example(examples: Sequence[tuple[str, str]], index: int) -> tuple[Any, ...]:
    return *examples[index], _no_problem()


def _check(upload: dict | None) -> tuple[Any, Any]:
    """Look at an upload when it comes: one that is no image, or too large a one, is taken off the page, and a line says
    why.
    """
    path = _path(upload)
    if path is None:
        return gr.skip(), _no_problem()
    try:
        read_upload(path)
    except RevisionError as error:
        return None, gr.update(value=problem_line(error), visible=True)
    return gr.skip(), _no_problem()


def _ask_tab(respondents: Sequence[Respondent], picture: gr.Image, question: gr.Textbox, most: int) -> list[Any]:
    """The tab's parts; gives those that show answers."""
    question.render()
    with gr.Row():
        ask = gr.Button("Ask", variant="primary", scale=3, elem_id="ask")
        stop = gr.Button("Stop", scale=1, min_width=80)
    with gr.Row():
        answers = [
            gr.Textbox(
                label=f"{each.name} (writes a caption)" if each.captions else each.name,
                interactive=False,
                lines=3,
                max_lines=20,
                min_width=220,
                buttons=["copy"],
                elem_classes="answer",
            )
            for each in respondents
        ]
    with gr.Accordion("Settings", open=False):
        length = gr.Slider(1, MOST_NEW_TOKENS, value=most, step=1, label="Most new tokens of an answer")
    running = [
        gr.on(
            [ask.click, question.submit],
            functools.partial(_answer, respondent),
            [picture, question, length],
            answer,
            concurrency_limit=1,
            concurrency_id=f"answers-{number}",
            show_progress="minimal",
            **RAW,
        )
        for number, (respondent, answer) in enumerate(zip(respondents, answers, strict=True))
    ]
    stop.click(None, cancels=running, **HIDDEN)
    return answers


def _answer(respondent: Respondent, upload: dict | None, question: str, max_new_tokens: int) -> Iterator[str]:
    """The answer as far as it is written, for its column; in one line what keeps it from being given."""
    try:
        yield ""
        yield from respondent.answer(read_upload(_path(upload)), question or "", max_new_tokens=int(max_new_tokens))
    except RevisionError as error:
        yield f"error: {first_line(error)}"


def _sight_tab(picture: gr.Image, space: EmbeddingSpace | None, reader: Respondent | None, most: int) -> list[Any]:
    """The tab's parts; gives those that show what was seen."""
    for line in missing_parts(space, reader):
        gr.Markdown(line)
    if space is None and reader is None:
        return []
    look = gr.Button("Look at the image", variant="primary", elem_id="look")
    problem = gr.HTML(visible=False, elem_classes="problem")
    outputs: list[Any] = [problem]
    if reader is not None:
        outputs.append(
            gr.Textbox(
                label=f"The caption that {reader.name} reads out of the embedding", interactive=False, elem_id="caption"
            )
        )
    if space is not None:
        gr.Markdown("### The image between texts and images")
        outputs.append(gr.Plot(show_label=False, elem_id="clouds"))
        outputs.append(gr.HTML(elem_id="cosines", elem_classes="sight"))
        with gr.Row():
            for _ in NEIGHBOURHOODS:
                with gr.Column(min_width=300):
                    outputs.append(gr.HTML(elem_classes=["sight", "nearest"]))
    look.click(
        functools.partial(_look, space, reader, most),
        picture,
        outputs,
        concurrency_limit=1,
        concurrency_id="look",
        **RAW,
    )
    return outputs


def _look(
    space: EmbeddingSpace | None, reader: Respondent | None, max_new_tokens: int, upload: dict | None
) -> list[Any]:
    """What the parts of the tab show of one image."""
    try:
        image = read_upload(_path(upload))
        found: list[Any] = [_no_problem()]
        if reader is not None:
            found.append([*reader.answer(image, "", max_new_tokens=max_new_tokens)][-1])
        if space is not None:
            sight = space.look(image)
            found += [draw(space, sight), cosine_table(space, sight), *neighbour_tables(space, sight)]
        return found
    except RevisionError as error:
        rest = (reader is not None) + (2 + len(NEIGHBOURHOODS)) * (space is not None)
        return [gr.update(value=problem_line(error), visible=True), *[None] * rest]
