"""The prompt, image and score of each benchmark. A score is `{"acc": 0.0 or 1.0}`, the same reply the same score."""

from __future__ import annotations

import re

from . import answers
from .documents import decode, field, listed, marked_images, name_of, require_fields

LETTER = "Answer with the option's letter from the given choices directly."
WORD = "Answer the question using a single word or phrase."
YES_NO = "Answer the question using a single word: yes or no."
DIRECTLY = "Please answer directly with only the letter of the correct option and nothing else."


def _score(right: bool) -> dict[str, float]:
    return {"acc": float(right)}


def _lettered(options: list[str]) -> dict[str, str]:
    return dict(zip(answers.LETTERS, options))


def _question(doc: dict, name: str = "question") -> str:
    return str(field(doc, name)).strip()


# MME: yes/no questions in pairs; accuracy counts each question by itself.
mme_docs = require_fields("image", "question", "answer", "question_id")


def mme_text(doc, lmms_eval_specific_kwargs=None) -> str:
    question = _question(doc).replace(" Please answer yes or no.", "")
    return f"{question}\n{WORD}"


def yes_no_score(doc, results) -> dict[str, float]:
    """MME and POPE: yes or no against `answer`."""
    return _score(answers.yes_or_no(results[0]) == answers.normal(str(field(doc, "answer"))))


# POPE: the three categories pooled.
pope_docs = require_fields("image", "question", "answer")


def word_text(doc, lmms_eval_specific_kwargs=None) -> str:
    return f"{_question(doc)}\n{WORD}"


def yes_no_text(doc, lmms_eval_specific_kwargs=None) -> str:
    return f"{_question(doc)}\n{YES_NO}"


# HallusionBench, questions with an image: accuracy over all questions (aAcc).
hallusionbench_docs = require_fields("image", "question", "gt_answer")


def hallusionbench_score(doc, results) -> dict[str, float]:
    expected = {"1": "yes", "0": "no"}[str(field(doc, "gt_answer")).strip()]
    return _score(answers.yes_or_no(results[0]) == expected)


# MMStar: options are part of the question; every sample counts the same.
mmstar_docs = require_fields("image", "question", "answer")


def letter_text(doc, lmms_eval_specific_kwargs=None) -> str:
    return f"{_question(doc)}\n{LETTER}"


def question_letter_score(doc, results) -> dict[str, float]:
    """MMStar: the letter of an option written in the question."""
    options = answers.options_in(_question(doc))
    letters = "".join(options) or "ABCD"
    return _score(answers.letter(results[0], letters, options) == str(field(doc, "answer")).strip().upper())


# ScienceQA, rows with an image, dev and test pooled.
scienceqa_docs = require_fields("image", "question", "choices", "answer")


def scienceqa_text(doc, lmms_eval_specific_kwargs=None) -> str:
    context = f"Context: {doc['hint'].strip()}\n" if (doc.get("hint") or "").strip() else ""
    options = "\n".join(f"{key}. {text}" for key, text in _lettered(field(doc, "choices")).items())
    return f"{context}{_question(doc)}\n{options}\n{LETTER}"


def scienceqa_target(doc) -> str:
    return answers.LETTERS[field(doc, "answer")]


def scienceqa_score(doc, results) -> dict[str, float]:
    options = _lettered(field(doc, "choices"))
    return _score(answers.letter(results[0], "".join(options), options) == scienceqa_target(doc))


# RealWorldQA: letters for questions with options, else a word or a number.
realworldqa_docs = require_fields("image", "question", "answer")


def realworldqa_text(doc, lmms_eval_specific_kwargs=None) -> str:
    return _question(doc)  # every question of this dataset ends in its own instruction


def realworldqa_score(doc, results) -> dict[str, float]:
    gold, options = str(field(doc, "answer")).strip(), answers.options_in(_question(doc).replace(DIRECTLY, ""))
    if gold in options:
        return _score(answers.letter(results[0], "".join(options), options) == gold)
    return _score(answers.short_answer(results[0], gold))


# MMMU (validation) and MMMU-Pro (standard, 10 options), rows that refer to one image.
def mmmu_images(doc) -> list:
    numbers = marked_images(field(doc, "question"), field(doc, "options"))
    return [decode(field(doc, f"image_{k}"), f"{name_of(doc)}, image {k}") for k in numbers]


def mmmu_text(doc, lmms_eval_specific_kwargs=None) -> str:
    options = _lettered(listed(field(doc, "options")))
    if doc.get("question_type", "multiple-choice") == "open":
        return f"{_question(doc)}\n\n{WORD}"
    listing = "\n".join(f"{key}. {text}" for key, text in options.items())
    return f"{_question(doc)}\n{listing}\n\n{LETTER}"


def mmmu_score(doc, results) -> dict[str, float]:
    gold = field(doc, "answer")
    if doc.get("question_type", "multiple-choice") == "open":
        return _score(any(answers.short_answer(results[0], one) for one in listed(gold)))
    options = _lettered(listed(field(doc, "options")))
    return _score(answers.letter(results[0], "".join(options), options) == str(gold).strip().upper())


# MMMU-Pro, vision: question and options are inside the image.
mmmu_pro_vision_docs = require_fields("image", "options", "answer")


def mmmu_pro_vision_text(doc, lmms_eval_specific_kwargs=None) -> str:
    return LETTER


# VisuLogic: one question form, four letters.
visulogic_docs = require_fields("image_path", "question", "label")


def visulogic_score(doc, results) -> dict[str, float]:
    return _score(answers.letter(results[0], "ABCD") == str(field(doc, "label")).strip().upper())


# LogicVista: some questions have several right letters, which must all be named.
logicvista_docs = require_fields("image", "question", "answer")


def logicvista_score(doc, results) -> dict[str, float]:
    options = answers.options_in(_question(doc))
    gold = frozenset(re.findall(r"[A-J]", str(field(doc, "answer")).upper()))
    letters = "".join(sorted(set(options) | gold | set("ABCDE")))
    return _score(answers.letters_named(results[0], letters, options) == gold)


# CRPE, relations: subject, predicate and object questions pooled.
crpe_docs = require_fields("image", "text", "correct_option")


def crpe_text(doc, lmms_eval_specific_kwargs=None) -> str:
    question = _question(doc, "text").replace(DIRECTLY, "").strip()
    return f"{question}\n{DIRECTLY}"


def crpe_score(doc, results) -> dict[str, float]:
    options = answers.options_in(_question(doc, "text").replace(DIRECTLY, "").strip())
    gold = str(field(doc, "correct_option")).strip().upper()
    return _score(answers.letter(results[0], "".join(options) or "ABCD", options) == gold)


# The embedded world: a word for every question.
demo_docs = require_fields("image", "question", "answer", "kind")


def plain_text(doc, lmms_eval_specific_kwargs=None) -> str:
    return _question(doc)


def demo_score(doc, results) -> dict[str, float]:
    return _score(answers.short_answer(results[0], str(field(doc, "answer"))))
