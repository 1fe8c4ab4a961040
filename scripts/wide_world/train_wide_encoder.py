"""Train a dual encoder of the wide world from nothing. Repeat a stopped command to go on."""

import argparse
import json
from pathlib import Path

from revision_plugin._common.devices import choose_device
from revision_plugin.cli.arguments import add_device
from scripts.wide_world.wide_encoder import WideEncoderRecipe, train_wide_encoder

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    for name, value in WideEncoderRecipe().__dict__.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(value), default=value)
    add_device(parser)
    arguments = vars(parser.parse_args())
    out, device = arguments.pop("out"), choose_device(arguments.pop("device"))
    recipe = WideEncoderRecipe(**arguments)
    record = train_wide_encoder(out, recipe, device=device, log=lambda line: print(line, flush=True))
    record["script"] = "python -m scripts.wide_world.train_wide_encoder"
    (out / "PROVENANCE.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(record["held_out"]))
