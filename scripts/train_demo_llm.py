"""Rebuild the shipped demo language model from nothing (about 40 minutes on one CPU core)."""

import argparse
import json
from pathlib import Path

from revision_plugin.demo.training.language_model import LanguageModelRecipe, train_language_model

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--start", type=Path, help="train on from this earlier result")
    for name, value in LanguageModelRecipe().__dict__.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(value), default=value)
    arguments = vars(parser.parse_args())
    out, start = arguments.pop("out"), arguments.pop("start")
    record = train_language_model(
        out, LanguageModelRecipe(**arguments), start=start, log=lambda line: print(line, flush=True)
    )
    record["script"] = "scripts/train_demo_llm.py"
    (out / "PROVENANCE.json").write_text(json.dumps(record, indent=1) + "\n")
    print(json.dumps(record["held_out"]))
