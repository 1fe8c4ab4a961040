"""Rebuild the shipped demo language model from nothing (about 25 minutes on two CPU cores; resumes after a stop)."""

from scripts.demo_artefacts.demo_language_model import LanguageModelRecipe, train_language_model
from scripts.demo_artefacts.small_training import training_command

if __name__ == "__main__":
    script = "scripts/demo_artefacts/train_demo_llm.py"
    training_command(str(__doc__), LanguageModelRecipe, train_language_model, script=script, figures="held_out")
