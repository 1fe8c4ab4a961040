"""Rebuild the shipped demo language model from nothing (about 25 minutes on two CPU cores; resumes after a stop)."""

import argparse
import json
from pathlib import Path

from scripts.demo_artefacts.demo_language_model import LanguageModelRecipe, train_language_model

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    for name, value in LanguageModelRecipe().__dict__.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(value), default=value)
    arguments = vars(parser.parse_args())
    out = arguments.pop("out")
    record = train_language_model(out, LanguageModelRecipe(**arguments), log=lambda line: print(line, flush=True))
    record["script"] = "scripts/demo_artefacts/train_demo_llm.py"
    (out / "PROVENANCE.json").write_text(json.dumps(record, indent=1) + "\n")
    print(json.dumps(record["held_out"]))
