"""Train a dual encoder of the wide world from nothing. Repeat a stopped command to go on."""

from scripts.demo_artefacts.small_training import training_command
from scripts.wide_world.wide_encoder import WideEncoderRecipe, train_wide_encoder

if __name__ == "__main__":
    training_command(
        str(__doc__),
        WideEncoderRecipe,
        train_wide_encoder,
        script="python -m scripts.wide_world.train_wide_encoder",
        figures="held_out",
        with_device=True,
    )
