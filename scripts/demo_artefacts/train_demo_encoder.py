"""Rebuild the shipped demo dual encoder from nothing (about 12 minutes on one CPU core)."""

from scripts.demo_artefacts.demo_encoder import EncoderRecipe, train_encoder
from scripts.demo_artefacts.small_training import training_command

if __name__ == "__main__":
    script = "scripts/demo_artefacts/train_demo_encoder.py"
    training_command(str(__doc__), EncoderRecipe, train_encoder, script=script, figures="held_out")
