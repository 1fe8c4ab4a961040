"""Contrastive pretraining through open_clip, watched by the gap monitor; under torchrun in several processes.

Writes an open_clip folder for `revision encode --encoder open_clip:OUT/encoder`, the monitor's log and ReVision's
figure 2. A stopped run is resumed by the same command.
"""

from __future__ import annotations

import argparse
import logging
import sys
from dataclasses import replace
from pathlib import Path

from revision_plugin.cli import Parser
from revision_plugin.cli.arguments import MOST_SEED, add_trackers, chosen_trackers, finite, whole
from revision_plugin.errors import one_line
from scripts.dual_encoder.contrastive import train_dual_encoder
from scripts.dual_encoder.dual_encoder_configs import CONFIGS, Config


def main() -> None:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", required=True, help=f"one of {', '.join(CONFIGS.names())}")
    parser.add_argument("--data", type=Path, required=True, help="LLaVA JSON or JSONL of images and captions")
    parser.add_argument("--image-folder", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    for name, kind in (
        ("steps", whole(1)),
        ("batch", whole(1)),
        ("learning_rate", finite),
        ("probe", whole(0)),
        ("every", whole(1)),
        ("freeze_step", whole(0)),
        ("logit_scale", finite),
        ("highest_logit_scale", finite),
    ):
        parser.add_argument(f"--{name.replace('_', '-')}", type=kind, help="instead of the config's")
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    parser.add_argument("--workers", type=whole(0), default=2, help="processes that decode images")
    parser.add_argument("--save-every", type=whole(1), default=100, metavar="STEPS")
    parser.add_argument("--device")
    parser.add_argument("--seed", type=whole(0, MOST_SEED), default=0)
    add_trackers(parser, "what the monitor measures")
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    with one_line(interrupted="repeat the command to resume from its last checkpoint"):
        a = parser.parse_args()
        names = Config.__dataclass_fields__
        overrides = {name: getattr(a, name) for name in names if getattr(a, name, None) is not None}
        config = replace(CONFIGS.get(a.config)(), **overrides)
        with chosen_trackers(a, "dual-encoder") as tracker:
            train_dual_encoder(
                config,
                a.data,
                a.image_folder,
                a.out,
                seed=a.seed,
                workers=a.workers,
                precision=a.precision,
                save_every=a.save_every,
                device=a.device,
                tracker=tracker,
            )
    print(f"encoder: {a.out / 'encoder'}")


if __name__ == "__main__":
    main()
