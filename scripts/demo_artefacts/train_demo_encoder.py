"""Rebuild the shipped demo dual encoder from nothing (about 12 minutes on one CPU core)."""

import argparse
import json
from pathlib import Path

from scripts.demo_artefacts.demo_encoder import EncoderRecipe, train_encoder

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    for name, value in EncoderRecipe().__dict__.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(value), default=value)
    arguments = vars(parser.parse_args())
    out = arguments.pop("out")
    record = train_encoder(out, EncoderRecipe(**arguments), log=lambda line: print(line, flush=True))
    record["script"] = "scripts/demo_artefacts/train_demo_encoder.py"
    (out / "PROVENANCE.json").write_text(json.dumps(record, indent=1) + "\n")
    print(json.dumps(record["held_out"]))
