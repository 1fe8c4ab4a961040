"""Both stages, an 8B step, QLoRA, encoding, fits and generation on a GPU, each beside what it must agree with or beat.

bash scripts/bench/gpu.sh            # writes gpu/gpu.json and docs/gpu.md
bash scripts/bench/gpu.sh --tiny     # the same parts, small, where there is no GPU: shows that they run
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from revision_plugin._common.files import write_json, write_text
from revision_plugin._common.markdown import table
from revision_plugin._common.versions import versions
from revision_plugin.cli import Parser
from revision_plugin.cli.arguments import whole
from revision_plugin.errors import RevisionError, one_line
from scripts.bench import gpu_parts
from scripts.bench.machine import describe_machine

PAGE = Path(__file__).parents[2] / "docs" / "gpu.md"
PARTS: dict[str, tuple[str, Callable[[gpu_parts.Ground], list[dict[str, Any]]]]] = {
    "stages": ("Both stages, as the scripts launch them", gpu_parts.stages),
    "step": ("A Stage-1 step of a random language model of Llama 3's shape", gpu_parts.large_step),
    "qlora": ("Stage 2 with adapters on a language model in 4 bits", gpu_parts.qlora),
    "encode": ("`revision encode` against the bare forward pass", gpu_parts.encode),
    "fits": ("Fits on the device against the CPU's numbers", gpu_parts.fits),
    "answers": ("Answers in half precision against float32", gpu_parts.answers),
}


def describe() -> str:
    """The device and what runs on it."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    return f"{device}; {describe_machine()}"


def run_parts(ground: gpu_parts.Ground, names: list[str], seconds: float) -> dict[str, dict[str, Any]]:
    """By part its rows, or why it gave none: a part that fails, or for which no time is left, is part of the result."""
    results: dict[str, dict[str, Any]] = {}
    end = time.monotonic() + seconds
    for name in names:
        if time.monotonic() > end:
            results[name] = {"problem": "not run: the time was up"}
            continue
        print(f"{name} ...", file=sys.stderr, flush=True)
        started = time.monotonic()
        try:
            rows = PARTS[name][1](ground)
            results[name] = {"rows": rows, "seconds": round(time.monotonic() - started, 1)}
        except (RevisionError, RuntimeError, ImportError) as error:
            results[name] = {"problem": str(error).strip().splitlines()[-1]}
        print(f"  {results[name].get('problem', 'done')}", file=sys.stderr, flush=True)
    return results


def page(record: dict[str, Any]) -> str:
    """docs/gpu.md of a run."""
    lines = [
        "# On a GPU",
        "",
        f"What only a GPU can tell, written by `bash scripts/bench/gpu.sh{' --tiny' if record['tiny'] else ''}`.",
    ]
    lines += [f"Machine: {record['machine']}.", ""]
    if record["tiny"]:
        lines += [
            "**No GPU was at hand.** These are the parts run small on a CPU, in float32 and without DeepSpeed: they "
            "show that the command runs and say nothing about a GPU.",
            "",
        ]
    for name, result in record["parts"].items():
        lines += [f"## {PARTS[name][0]}", ""]
        if "problem" in result:
            lines += [f"No result: {result['problem']}", ""]
            continue
        head = list(result["rows"][0])
        lines += [table(head, [[_cell(row.get(key)) for key in head] for row in result["rows"]]), ""]
        lines += [f"{result['seconds']:.0f} s in all.", ""]
    return "\n".join(lines).rstrip() + "\n"


def _cell(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else "-" if value is None else str(value)


def main() -> None:
    parser = Parser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("gpu"), help="working folder, with gpu.json (default gpu)")
    parser.add_argument("--page", type=Path, default=PAGE, help="the page (default docs/gpu.md)")
    parser.add_argument("--tiny", action="store_true", help="small parts on a CPU")
    parser.add_argument("--only", nargs="+", choices=PARTS, help="these parts alone")
    parser.add_argument("--seconds", type=whole(1), default=600, help="after which no further part begins")
    with one_line():
        a = parser.parse_args()
        if not a.tiny and not torch.cuda.is_available():
            raise RevisionError("no GPU was found; run this on a machine with one, or give --tiny")
        a.out.mkdir(parents=True, exist_ok=True)
        ground = gpu_parts.Ground(a.out.resolve(), tiny=a.tiny)
        parts = run_parts(ground, a.only or list(PARTS), a.seconds)
        record = {"machine": describe(), "tiny": a.tiny, "versions": versions(), "parts": parts}
        write_json(a.out / "gpu.json", record)
        write_text(a.page, page(record))
        print(json.dumps(parts, indent=1))


if __name__ == "__main__":
    main()
