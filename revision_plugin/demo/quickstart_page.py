"""The quickstart's page: report.html, for someone who has never seen the project."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from plotly.graph_objects import Bar, Figure, Scatter

from .._common.files import read_json
from ..evaluation import run
from ..geometry.plots import BESIDE, gap_view
from ..pages import COLORS, Card, Page, cloud_color, command_line, thumbnail, version_facts
from . import world
from .questions import KINDS, Question, questions
from .quickstart_report import geometry_table, stage1_table, stage2_table, verdicts
from .recipe import HELD_OUT_SEED, STAGE1_LABELS, STAGE2_LABELS

SUMMARY = (
    "A language model learns to see from text: Stage 1 shows it embeddings of captions in place of images, after an "
    "aligner has moved them to where images lie. This page shows how far that carries on images it has never seen."
)
CLOUDS = {"images": "images", "none": "texts, no alignment", "realign": "texts, ReAlign"}
CLOUD_COLORS = {"images": "target", "none": "none", "realign": "realign"}
MODEL_COLORS = {"realign": "blue", "views": "green", "without": "orange"}
ASKED_FOR = {
    "existence": "whether a thing is there",
    "position": "where a thing is",
    "content": "what is at a place",
    "color": "the background's colour",
    "count": "how many things there are",
    "relation": "how two things lie to each other",
}
A_KIND = 40  # questions of a kind that are shown
RIGHT, WRONG = "right", "wrong"
LIMITS = (
    "How methods that lie close together are ordered: this is one run with one seed.",
    "Anything about photographs: these are scenes of emoji, with an encoder and a language model made for them.",
    "What is gained at the papers' sizes. Everything here is small, so that it takes minutes.",
)


@dataclass
class Answers:
    """Questions (scene, question) about held-out scenes, and by checkpoint the replies and their scores, in order."""

    asked: list[tuple[int, Question]]
    replies: dict[str, list[tuple[str, float]]]


def write_page(
    out: Path, results: dict, clouds: dict, scenes: list, pictures: np.ndarray, examples: list[dict]
) -> Path:
    """Write report/report.html of the run under `out`, whose trainings and evaluations are read from there."""
    losses = {name: losses_of(out / f"stage1-{name}") for name in results["stage1"]}
    replies = {name: run.replies(out / f"evaluation-{name}", "revision_demo") for name in STAGE2_LABELS}
    answers = Answers(questions(scenes, seed=HELD_OUT_SEED), replies)
    page = quickstart_page(results, clouds, losses, answers, scenes, pictures, examples)
    return page.write(out / "report" / "report.html")


def losses_of(folder: Path) -> list[tuple[int, float]]:
    """A training's (step, loss)."""
    state = read_json(folder / "trainer_state.json")
    return [(entry["step"], entry["loss"]) for entry in state["log_history"] if "loss" in entry]


def quickstart_page(
    results: dict,
    clouds: dict[str, np.ndarray],
    losses: dict[str, list[tuple[int, float]]],
    answers: Answers,
    scenes: list[world.Scene],
    pictures: np.ndarray,
    examples: list[dict],
) -> Page:
    """The page of a run: its `results`, the held-out clouds [n, d], Stage 1's losses by (step, loss), the answers, the
    scenes with their pictures uint8 [n, H, W, 3], and captions that were written from the first of them.
    """
    small = [thumbnail(picture) for picture in pictures]
    page = Page("Quickstart: learning to see from text", SUMMARY)
    page.key_figures(_key_figures(results))
    page.section("What this run shows")
    page.bullets(verdicts(results))
    page.section(
        "The modality gap, before and after",
        "Each point is a held-out scene: its picture (images) or its caption (texts) as the encoder `demo` embeds it. "
        "Captions lie apart from pictures; ReAlign, fitted on other scenes without any pairs, moves them over. Point "
        "at one to see its scene; the buttons switch clouds on and off.",
    )
    cards = [Card(world.caption(scene), picture=picture) for scene, picture in zip(scenes, small)]
    page.figure(
        _clouds(clouds),
        caption="To the right is the way from the images' mean to the mean of the texts without alignment.",
        alt="Three clouds: texts without alignment to the right of the images, texts after ReAlign on top of them.",
        cards=cards,
        height=460,
    )
    page.table(*geometry_table(results), caption="The gap is the distance between the means of two clouds.")
    _stage1(page, results, losses, examples, small)
    _stage2(page, results, answers, small)
    page.facts("What was run", _facts(results))
    page.limits(LIMITS)
    return page


def _key_figures(results: dict) -> list[tuple[str, str]]:
    gap, cost = results["geometry"], {name: each["image"]["mean"] for name, each in results["stage1"].items()}
    share = {name: each["all"]["accuracy"] for name, each in results["stage2"].items()}
    return [
        (
            f"{gap['none']['centroid_gap']:.3f} → {gap['realign']['centroid_gap']:.3f}",
            "gap between texts and images, before and after ReAlign",
        ),
        (
            f"{cost['none']:.2f} → {cost['realign']:.2f}",
            f"nats a token for captions of real images, trained on text: without and with ReAlign; trained on pairs "
            f"{cost['paired']:.2f}",
        ),
        (
            f"{share['without']:.0%} → {share['realign']:.0%}",
            "questions answered right, without Stage 1 and after Stage 1 with ReAlign",
        ),
        (f"{share['views']:.0%}", "questions answered right where Stage 2 sees the image and its parts"),
    ]


def _clouds(clouds: dict[str, np.ndarray]) -> Figure:
    centre, directions = gap_view(clouds["images"], clouds["none"])
    figure = Figure()
    for name, label in CLOUDS.items():
        x, y = ((clouds[name] - centre) @ directions).T.astype(np.float32)
        marker = dict(size=7, opacity=0.65, color=cloud_color(CLOUD_COLORS[name]))
        figure.add_trace(Scatter(x=x, y=y, mode="markers", name=label, marker=marker, customdata=list(range(len(x)))))
    return figure.update_layout(xaxis_title="from the images' centroid to the texts'", yaxis_title=BESIDE)


def _stage1(page: Page, results: dict, losses: dict, examples: list[dict], small: list[str]) -> None:
    page.section(
        "Stage 1: trained on text, measured on images",
        "Only the projector trains, on captions' embeddings. `paired images` is the control, trained on real pictures. "
        "The loss falls for all; what counts is what a true caption costs given a real IMAGE, which only the control "
        "has trained on.",
    )
    figure = Figure()
    for name, points in losses.items():
        steps, values = zip(*points)
        line = dict(color=cloud_color(name), width=2, dash="dot" if name == "paired" else "solid")
        figure.add_trace(Scatter(x=steps, y=values, name=STAGE1_LABELS[name], mode="lines", line=line))
    figure.update_layout(xaxis_title="step", yaxis_title="loss (nats a token)", yaxis_rangemode="tozero")
    alt = "Training loss against step, a line a training."
    page.figure(figure, caption="Loss while Stage 1 trains.", alt=alt, height=340)
    page.table(
        *stage1_table(results),
        caption="NLL: negative log-likelihood of the true caption, nats a token, mean ± standard error over held-out "
        "scenes. By chance: the same captions, held against another scene.",
    )
    cards = [
        Card(
            each["truth"],
            [("ReAlign", each["realign"]), ("no alignment", each["none"])],
            picture=picture,
            alt="the scene",
        )
        for each, picture in zip(examples, small)
    ]
    page.pictures(cards, caption="True captions in bold, and what each model writes from the picture.")


def _stage2(page: Page, results: dict, answers: Answers, small: list[str]) -> None:
    page.section(
        "Stage 2: questions about real images",
        "Stage 2 trains on questions about real images. `ReAlign, one vector` and `without Stage 1` see an image as "
        f"one vector; `ReAlign, views` sees the whole and its parts (`{results['recipe']['views']}`), a vector each.",
    )
    page.figure(
        _bars(results["stage2"]),
        caption="Accuracy on held-out questions with its 95 % interval (Wilson). The line across is what one gets by "
        "always giving the commonest answer.",
        alt="Bars of accuracy by kind of question, one for each of three checkpoints, with intervals.",
    )
    page.table(*stage2_table(results))
    page.section("Which questions fail, and why", *_reasons(results))
    head = [
        "question",
        "asks",
        *(f"wrong: {label}" for label in STAGE2_LABELS.values()),
        "commonest mistake, one vector",
    ]
    page.table(head, [_mistakes(kind, answers) for kind in KINDS], caption="Wrong answers, of all that were asked.")
    page.section("Look for yourself")
    page.pictures(
        _sheet(answers, small),
        caption=f"The first {A_KIND} questions of each kind. The edge is blue where `ReAlign, one vector` is right, "
        "orange where it is wrong. What ReAlign changes: choose right for it and wrong for `without Stage 1`.",
    )


def _bars(stage2: dict) -> Figure:
    kinds = [*KINDS, "all"]
    figure = Figure()
    for name, label in STAGE2_LABELS.items():
        rows = [stage2[name][kind] for kind in kinds]
        values = [row["accuracy"] for row in rows]
        error = dict(
            array=[row["high"] - row["accuracy"] for row in rows],
            arrayminus=[row["accuracy"] - row["low"] for row in rows],
            color=COLORS["grey"],
            thickness=1.5,
            width=3,
        )
        figure.add_trace(Bar(x=kinds, y=values, name=label, error_y=error, marker_color=COLORS[MODEL_COLORS[name]]))
    chance = [stage2["realign"][kind]["chance"] for kind in kinds]
    marker = dict(symbol="line-ew-open", size=20, color=COLORS["ink"], line=dict(width=2, color=COLORS["ink"]))
    figure.add_trace(Scatter(x=kinds, y=chance, name="commonest answer", mode="markers", marker=marker))
    return figure.update_layout(
        barmode="group", bargap=0.25, yaxis_range=[0, 1.02], yaxis_tickformat=".0%", yaxis_title="accuracy"
    )


def _reasons(results: dict) -> list[str]:
    """What fails and why, as far as this run's own figures say it."""
    one, parts = results["stage2"]["realign"], results["stage2"]["views"]
    chance = [kind for kind in KINDS if one[kind]["low"] <= one[kind]["chance"]]
    gained = [kind for kind in KINDS if parts[kind]["low"] > one[kind]["high"]]
    named = results["stage1"]["realign"]["recall"]
    said = []
    if chance:
        said.append(f"With one vector, not above always giving the commonest answer: {_listed(chance)}.")
    weakest = min(KINDS, key=lambda kind: one[kind]["accuracy"])
    said.append(f"The lowest accuracy with one vector is {one[weakest]['accuracy']:.0%}, for {_listed([weakest])}.")
    if gained:
        changes = ", ".join(f"{kind} {one[kind]['accuracy']:.0%} to {parts[kind]['accuracy']:.0%}" for kind in gained)
        said.append(
            f"Seeing the parts helps by more than both intervals for {_listed(gained)}: {changes}. So the model can "
            "answer these when it is told what lies where, and the one vector of the whole image does not tell it."
        )
    else:
        said.append(
            "Seeing the parts helps no kind by more than both intervals, so this run does not say why they fail."
        )
    said.append(
        f"The captions of Stage 1 say the same of that vector: they name {named['object']:.0%} of the objects, and "
        f"{named['placed_object']:.0%} together with their place."
    )
    return said


def _listed(kinds: list[str]) -> str:
    return "; ".join(f"{kind} ({ASKED_FOR[kind]})" for kind in kinds)


def _mistakes(kind: str, answers: Answers) -> list:
    """A row of the table of mistakes: how many, by checkpoint, and the commonest of the first."""
    numbers = [number for number, (_, question) in enumerate(answers.asked) if question.kind == kind]
    wrong = {name: [n for n in numbers if answers.replies[name][n][1] != 1] for name in STAGE2_LABELS}
    pairs = Counter((answers.asked[n][1].answer, answers.replies["realign"][n][0]) for n in wrong["realign"])
    common = "-"
    if pairs:
        (truth, said), count = pairs.most_common(1)[0]
        common = f"says {said} where {truth} is right: {count} of {len(wrong['realign'])}"
    return [kind, ASKED_FOR[kind], *(f"{len(each)} of {len(numbers)}" for each in wrong.values()), common]


def _sheet(answers: Answers, small: list[str]) -> list[Card]:
    """Cards of the first questions of each kind, with every checkpoint's answer."""
    cards, shown = [], Counter[str]()
    for number, (scene, question) in enumerate(answers.asked):
        shown[question.kind] += 1
        if shown[question.kind] > A_KIND:
            continue
        replies = {label: answers.replies[name][number] for name, label in STAGE2_LABELS.items()}
        marks = {label: RIGHT if score == 1 else WRONG for label, (_, score) in replies.items()}
        lines = [(label, f"{reply} {'✓' if marks[label] == RIGHT else '✗'}") for label, (reply, _) in replies.items()]
        cards.append(
            Card(
                question.text,
                [("right answer", question.answer), *lines],
                picture=small[scene],
                alt="the scene that is asked about",
                tags={"question": question.kind, **marks},
                mark=marks[STAGE2_LABELS["realign"]],
            )
        )
    return cards


def _facts(results: dict) -> dict[str, str]:
    recipe, seconds = results["recipe"], results["seconds"]
    return {
        "command": command_line(),
        "data": f"the embedded world: scenes of one to three emoji; {recipe['texts']} captions and {recipe['images']} "
        f"unpaired images to fit and train on, {recipe['stage2_images']} images with questions, {recipe['held_out']} "
        "held-out scenes, whose captions and pictures no training saw",
        "models": f"encoder `demo`, language model `{results['language_model']}`, {recipe['tokens']} visual token(s) a "
        f"vector, seed {results['seed']}",
        "trainings": f"Stage 1 {recipe['stage1_steps']} steps of {recipe['stage1_batch']}, Stage 2 "
        f"{recipe['stage2_steps']} steps of {recipe['stage2_batch']}",
        "time": ", ".join(f"{name} {value:.0f} s" for name, value in seconds.items()),
        **version_facts(),
    }
