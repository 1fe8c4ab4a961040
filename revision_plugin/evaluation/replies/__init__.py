"""What a model's reply answers: a letter, several, yes or no, a number, a word."""

from .choice import choice, choices
from .question_options import options_in
from .short import short_answer
from .yes_no import yes_or_no

__all__ = ["choice", "choices", "options_in", "short_answer", "yes_or_no"]
