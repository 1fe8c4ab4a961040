"""Train the wide world's language model from nothing. Repeat a stopped command to go on."""

from scripts.demo_artefacts.small_training import training_command
from scripts.wide_world.wide_language_model import WideModelRecipe, train_wide_language_model

if __name__ == "__main__":
    training_command(
        str(__doc__),
        WideModelRecipe,
        train_wide_language_model,
        script="python -m scripts.wide_world.train_wide_llm",
        figures="held_out_nats_a_token",
        with_device=True,
    )
