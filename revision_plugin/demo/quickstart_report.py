"""The quickstart's report: markdown and PNG, every figure from the run's own results."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from .._common.markdown import table
from ..geometry.plots import BESIDE, COLORS, DPI, gap_view, new_figure
from .questions import KINDS
from .recipe import STAGE1_LABELS, STAGE2_LABELS


def plot_loss(path: Path, curves: dict[str, list[tuple[int, float]]]) -> None:
    """Stage-1 training loss against step, a line a run."""
    figure = new_figure(7, 4)
    axes = figure.subplots()
    for name, points in curves.items():
        steps, losses = zip(*points)
        axes.plot(steps, losses, color=COLORS[name], label=STAGE1_LABELS[name], linewidth=1.5)
    axes.set(
        title="Stage 1: caption loss while only the projector trains", xlabel="step", ylabel="loss (nats per token)"
    )
    figure.legend(loc="outside right upper", frameon=False)
    figure.savefig(path, dpi=DPI)


def plot_pca(path: Path, clouds: dict[str, np.ndarray]) -> None:
    """All clouds seen along the gap and the first principal component beside it: images, texts, aligned texts."""
    centre, directions = gap_view(clouds["images"], clouds["none"])
    figure = new_figure(7.5, 4.2)
    axes = figure.subplots()
    labels = {"images": "images", "none": "texts, no alignment", "realign": "texts, ReAlign"}
    for name, rows in clouds.items():
        x, y = ((rows - centre) @ directions).T
        color = COLORS["target" if name == "images" else name]
        axes.scatter(x, y, s=8, alpha=0.6, color=color, label=labels[name], linewidths=0)
    axes.set(
        title="Held-out scenes in the shared space", xlabel="from the images' centroid to the texts'", ylabel=BESIDE
    )
    figure.legend(loc="outside right upper", frameon=False)
    figure.savefig(path, dpi=DPI)


def plot_contact_sheet(path: Path, rows: list[dict], pictures: np.ndarray) -> None:
    """Images with question, answer and truth; wrong answers in the warning colour."""
    columns = 4
    lines = -(-len(rows) // columns)
    figure = new_figure(3.1 * columns, 2.6 * lines)
    for axes, row in zip(figure.subplots(lines, columns).flat, rows):
        axes.imshow(pictures[row["picture"]], interpolation="nearest")
        axes.set_axis_off()
        right = row["right"]
        answer_text = row["answer"] if right else f"{row['answer']} (truth: {row['truth']})"
        axes.set_title(f"{row['question']}\n{answer_text}", fontsize=8, color="black" if right else COLORS["none"])
    figure.savefig(path, dpi=DPI)


def geometry_table(results: dict) -> tuple[list[str], list[list]]:
    """Head and rows: each held-out cloud's gap to the images, trace and paired cosine."""
    rows = [
        [
            STAGE1_LABELS.get(name, name),
            f"{g['centroid_gap']:.4f}",
            f"{g['trace']:.4f}",
            f"{g['paired_cosine']:.3f}" if "paired_cosine" in g else "-",
        ]
        for name, g in results["geometry"].items()
    ]
    return ["held-out embeddings", "centroid gap to images", "trace", "paired cosine"], rows


def stage1_table(results: dict) -> tuple[list[str], list[list]]:
    """Head and rows: what captions cost each Stage 1 given their text, their image and another, and what it names."""
    rows = []
    for name, r in results["stage1"].items():
        text = f"{r['text']['mean']:.3f} ± {r['text']['error']:.3f}" if "text" in r else "-"
        rows.append(
            [
                STAGE1_LABELS[name],
                text,
                f"{r['image']['mean']:.3f} ± {r['image']['error']:.3f}",
                f"{r['shuffled']['mean']:.3f}",
                f"{r['recall']['object']:.2f} ({r['recall_shuffled']['object']:.2f})",
                f"{r['recall']['color']:.2f} ({r['recall_shuffled']['color']:.2f})",
                f"{r['recall']['placed_object']:.2f}",
            ]
        )
    head = [
        "trained on",
        "NLL given its text",
        "NLL given the IMAGE",
        "NLL given another image",
        "objects named (by chance)",
        "background named (by chance)",
        "objects named in place",
    ]
    return head, rows


def stage2_table(results: dict) -> tuple[list[str], list[list]]:
    """Head and rows: accuracy with its interval by kind of question, of each checkpoint."""
    rows, tuned = [], {name: results["stage2"][name] for name in STAGE2_LABELS}
    for kind in (*KINDS, "all"):
        cells = [f"{t[kind]['accuracy']:.2f} [{t[kind]['low']:.2f}, {t[kind]['high']:.2f}]" for t in tuned.values()]
        first = tuned["realign"][kind]
        rows.append([kind, first["questions"], f"{first['chance']:.2f}", *cells])
    return ["question", "asked", "commonest answer", *STAGE2_LABELS.values()], rows


def verdicts(results: dict) -> list[str]:
    """What this run shows, each sentence computed from its own figures."""
    s, g = results["stage1"], results["geometry"]
    none, realign, paired = (s[name]["image"]["mean"] for name in ("none", "realign", "paired"))
    text, floor = s["realign"]["text"]["mean"], s["realign"]["shuffled"]["mean"]
    objects, chance = s["realign"]["recall"]["object"], max(s["realign"]["recall_shuffled"]["object"], 1e-9)
    with_, views, without = (results["stage2"][k]["all"]["accuracy"] for k in ("realign", "views", "without"))
    return [
        f"ReAlign closes the held-out centroid gap from {g['none']['centroid_gap']:.3f} to {g['realign']['centroid_gap']:.3f}.",
        f"Before any image was trained on, captions of real images cost {realign:.3f} nats per token after ReAlign, {none:.3f} without alignment "
        f"and {paired:.3f} after training on paired images; for the ReAlign model another scene's image costs {floor:.3f}.",
        f"Given its own aligned text the ReAlign model pays {text:.3f}, so moving to real images costs {realign - text:.3f} nats per token.",
        f"It names {objects:.0%} of the objects in images it never trained on, {objects / chance:.1f} times chance.",
        f"After Stage 2 it answers {with_:.0%} of held-out questions, {without:.0%} without Stage 1.",
        f"Where Stage 2 sees an image as the whole and its parts ({results['recipe']['views']}) it answers {views:.0%}.",
        _chance_verdict(results["stage2"]["realign"]),
        "One run with one seed: it says nothing about the order of methods that lie close together.",
    ]


def _chance_verdict(accuracies: dict) -> str:
    at_chance = [kind for kind in KINDS if accuracies[kind]["low"] <= accuracies[kind]["chance"]]
    if not at_chance:
        return "With one vector every kind of question is answered above chance (95 % interval)."
    return f"With one vector not above chance (95 % interval): questions of {', '.join(at_chance)}."


def write_report(folder: Path, results: dict, examples: list[dict]) -> Path:
    """Write `report.md` beside the plots already in `folder`."""
    captions = table(
        ["true caption", "ReAlign, from the image", "no alignment, from the image"],
        [[e["truth"], e["realign"], e["none"]] for e in examples],
    )
    times = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in results["seconds"].items())
    text = f"""# Quickstart: learning to see from text

The embedded world: scenes of one to three emoji, encoder `demo`, language model `{results["language_model"]}`,
{results["recipe"]["tokens"]} visual token(s), seed {results["seed"]}. Stage 1 trains the projector only, on text or (the control) on
paired images. {results["recipe"]["held_out"]} held-out scenes, whose captions and pictures no training saw.

## What this run shows

{chr(10).join("- " + line for line in verdicts(results))}

## The modality gap

{table(*geometry_table(results))}

![PCA](pca.png)

## Stage 1: text only

![loss](stage1_loss.png)

Negative log-likelihood (NLL) of the true caption, nats per token, mean and standard error over held-out scenes; recall of greedy
captions written from images, with the recall the same captions get on another scene as chance.

{table(*stage1_table(results))}

{captions}

## Stage 2: questions about real images

{results["recipe"]["stage2_images"]} images, {results["recipe"]["stage2_steps"]} steps; accuracy with 95 % interval (Wilson). The column of views is
the same Stage 1, of one vector a text, before a Stage 2 on {results["recipe"]["views"]}: the whole image and its parts, one token each.

{table(*stage2_table(results))}

![answers](answers.png)

The pictures show answers of the checkpoint with one vector.

Wall time: {times}.
"""
    path = folder / "report.md"
    path.write_text(text, encoding="utf-8")
    return path
