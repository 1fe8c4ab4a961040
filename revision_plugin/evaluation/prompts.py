"""The fields and the prompt of each benchmark, and the images of those that have several."""

from __future__ import annotations

from .documents import decode, field, logicvista_rows, marked_images, name_of, require_fields, shared_images
from .prompt_parts import with_instruction
from .replies.question_options import LETTERS
from .right_answers import DIRECTLY, is_open, lettered, listed

LETTER = "Answer with the option's letter from the given choices directly."
WORD = "Answer the question using a single word or phrase."
YES_NO = "Answer the question using a single word: yes or no."


def _question(doc: dict, name: str = "question") -> str:
    return str(field(doc, name)).strip()


# MME: yes/no questions in pairs; accuracy counts each question by itself.
mme_docs = require_fields("image", "question", "answer", "question_id")


def mme_text(doc, lmms_eval_specific_kwargs=None) -> str:
    question = _question(doc).replace(" Please answer yes or no.", "")
    return with_instruction(question, f"\n{WORD}", lmms_eval_specific_kwargs)


# POPE: the three categories pooled.
pope_docs = require_fields("image", "question", "answer")


def word_text(doc, lmms_eval_specific_kwargs=None) -> str:
    return with_instruction(_question(doc), f"\n{WORD}", lmms_eval_specific_kwargs)


def yes_no_text(doc, lmms_eval_specific_kwargs=None) -> str:
    return with_instruction(_question(doc), f"\n{YES_NO}", lmms_eval_specific_kwargs)


# HallusionBench, questions with an image: accuracy over all questions (aAcc).
hallusionbench_docs = require_fields(
    "image", "question", "gt_answer", "category", "subcategory", "set_id", "figure_id", "question_id"
)


# MMStar: options are part of the question; every sample counts the same.
mmstar_docs = require_fields("image", "question", "answer")


def letter_text(doc, lmms_eval_specific_kwargs=None) -> str:
    return with_instruction(_question(doc), f"\n{LETTER}", lmms_eval_specific_kwargs)


# ScienceQA, rows with an image, dev and test pooled.
scienceqa_docs = require_fields("image", "question", "choices", "answer")


def scienceqa_text(doc, lmms_eval_specific_kwargs=None) -> str:
    context = f"Context: {doc['hint'].strip()}\n" if (doc.get("hint") or "").strip() else ""
    options = "\n".join(f"{key}. {text}" for key, text in lettered(field(doc, "choices")).items())
    return with_instruction(f"{context}{_question(doc)}\n{options}", f"\n{LETTER}", lmms_eval_specific_kwargs)


def scienceqa_target(doc) -> str:
    return LETTERS[field(doc, "answer")]


# RealWorldQA: letters for questions with options, else a word or a number.
realworldqa_docs = require_fields("image", "question", "answer")


def realworldqa_text(doc, lmms_eval_specific_kwargs=None) -> str:
    # every question of this dataset ends in its own instruction
    return with_instruction(_question(doc), "", lmms_eval_specific_kwargs)


# MMMU (validation) and MMMU-Pro (standard, 10 options), rows that refer to one image.
def mmmu_images(doc) -> list:
    numbers = marked_images(field(doc, "question"), field(doc, "options"))
    return [decode(field(doc, f"image_{k}"), f"{name_of(doc)}, image {k}") for k in numbers]


def mmmu_text(doc, lmms_eval_specific_kwargs=None) -> str:
    if is_open(doc):
        return with_instruction(_question(doc), f"\n\n{WORD}", lmms_eval_specific_kwargs)
    options = lettered(listed(field(doc, "options")))
    listing = "\n".join(f"{key}. {text}" for key, text in options.items())
    return with_instruction(f"{_question(doc)}\n{listing}", f"\n\n{LETTER}", lmms_eval_specific_kwargs)


# MMMU-Pro, vision: question and options are inside the image.
mmmu_pro_vision_docs = require_fields("image", "options", "answer")


def mmmu_pro_vision_text(doc, lmms_eval_specific_kwargs=None) -> str:
    return with_instruction("", LETTER, lmms_eval_specific_kwargs)


# VisuLogic: one question form, four letters.
visulogic_docs = require_fields("image_path", "question", "label")


# LogicVista: some questions have several right letters, which must all be named.
logicvista_docs = logicvista_rows


# CRPE, relations: subject, predicate and object questions pooled.
crpe_docs = require_fields("image", "text", "correct_option")


def crpe_text(doc, lmms_eval_specific_kwargs=None) -> str:
    question = _question(doc, "text").replace(DIRECTLY, "").strip()
    return with_instruction(question, f"\n{DIRECTLY}", lmms_eval_specific_kwargs)


# CRPE, existence: VLMEvalKit's table.
crpe_exist_docs = shared_images


def crpe_exist_text(doc, lmms_eval_specific_kwargs=None) -> str:
    question = _question(doc).replace(DIRECTLY, "").strip()
    return with_instruction(question, f"\n{DIRECTLY}", lmms_eval_specific_kwargs)


# COCO captions: nothing is asked of a checkpoint that only writes captions.
coco_captions_docs = require_fields("image", "question_id", "id", "answer")


def caption_text(doc, lmms_eval_specific_kwargs=None) -> str:
    return with_instruction("", "", lmms_eval_specific_kwargs)


# The embedded world: a word for every question.
demo_docs = require_fields("image", "question", "answer", "kind")


def plain_text(doc, lmms_eval_specific_kwargs=None) -> str:
    return with_instruction(_question(doc), "", lmms_eval_specific_kwargs)
