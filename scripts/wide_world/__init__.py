"""A larger embedded world, for the comparison of aligners: hundreds of things, and captions as people write them."""

from pathlib import Path

ENCODERS = Path(__file__).with_name("encoders")
LANGUAGE_MODEL = Path(__file__).with_name("llm")
