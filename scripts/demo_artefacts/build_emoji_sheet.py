"""Rebuild the shipped emoji sheet from an unpacked `npm pack emoji-datasource-google@16.0.0`."""

import argparse
from pathlib import Path

from scripts.demo_artefacts.emoji_sheet import build_art

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--package", type=Path, required=True, help="the npm package's folder, with img/google/64")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    build_art(arguments.package, arguments.out)
