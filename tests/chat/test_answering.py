"""What a column of the page answers: the words of `revision ask`, as they are made, one answer at a time."""

import threading
import time

import pytest
import torch
import untrained
from conftest import run
from PIL import Image

from revision_plugin.chat.answering import (
    MOST_CHARACTERS,
    MOST_NEW_TOKENS,
    Respondent,
    load_respondents,
    named_models,
)
from revision_plugin.demo.tokenizer import build_tokenizer
from revision_plugin.errors import RevisionError

QUESTION = "where is the dog?"


@pytest.fixture(scope="module")
def answering(tiny_llm, tmp_path_factory):
    return untrained.checkpoint(tmp_path_factory.mktemp("answering") / "model", tiny_llm, "demo", version="v1")


@pytest.fixture
def picture(world_files):
    return sorted((world_files / "images").iterdir())[0]


def asked(capsys, *words):
    capsys.readouterr()
    run("ask", "--device", "cpu", "--max-new-tokens", 20, *words)
    return capsys.readouterr().out.removesuffix("\n")


def answers(respondent, picture, question=QUESTION, most=20):
    return [*respondent.answer(Image.open(picture).convert("RGB"), question, max_new_tokens=most)]


@pytest.mark.parametrize("host", ["llava", "hf"])
def test_the_last_words_are_those_of_revision_ask(answering, picture, host, tmp_path, capsys):
    model = answering
    if host == "hf":
        model = tmp_path / "exported"
        run("export", "--model", answering, "--out", model, "--no-check")
    expected = asked(capsys, "--model", model, "--image", picture, QUESTION)
    (respondent,) = load_respondents([("it", str(model))], base=None, device="cpu")
    written = answers(respondent, picture)
    assert expected and written[-1] == expected
    growing = written[:-1]
    assert len(set(growing)) > 3 and all(after.startswith(before) for before, after in zip(growing, growing[1:]))
    assert answers(respondent, picture, f" {QUESTION}\n")[-1] == expected


@pytest.mark.slow
def test_a_stage1_checkpoint_writes_its_caption_over_the_model_that_run_json_names(stage1, tiny_llm, picture, capsys):
    expected = asked(capsys, "--model", stage1, "--base", tiny_llm, "--image", picture)
    (respondent,) = load_respondents([("stage1", str(stage1))], base=None, device="cpu")
    assert respondent.captions
    assert answers(respondent, picture)[-1] == expected


def test_a_base_that_no_checkpoint_needs_is_refused(answering, tiny_llm):
    with pytest.raises(RevisionError, match="every checkpoint has its language model"):
        load_respondents([("it", str(answering))], base=str(tiny_llm), device="cpu")


class Generating:
    """Stands for a checkpoint: makes the tokens of `words` one by one, and counts those made and those at work."""

    template_name = "v1"

    def __init__(self, words, pause=0.0, fails=None):
        self.tokenizer = build_tokenizer()
        self.tokens = self.tokenizer(words, add_special_tokens=False).input_ids
        self.pause, self.fails, self.made, self.at_work, self.most_at_work = pause, fails, 0, 0, 0

    def ask(self, images, questions, *, max_new_tokens, streamer):
        self.at_work += 1
        self.most_at_work = max(self.most_at_work, self.at_work)
        try:
            streamer.put(torch.tensor([[1, 2, 3]]))  # the prompt
            for token in self.tokens[:max_new_tokens]:
                time.sleep(self.pause)
                streamer.put(torch.tensor([token]))
                self.made += 1
            if self.fails:
                raise self.fails
            streamer.end()
        finally:
            self.at_work -= 1
        return [self.tokenizer.decode(self.tokens[:max_new_tokens])]


def test_closing_an_answer_ends_its_generation():
    checkpoint = Generating("a dog " * 200, pause=0.01)
    respondent = Respondent("it", checkpoint)
    answer = respondent.answer(None, QUESTION, max_new_tokens=MOST_NEW_TOKENS)
    next(answer)
    answer.close()
    assert [*respondent.answer(None, QUESTION, max_new_tokens=2)][-1]  # its turn comes when the other has ended
    assert checkpoint.made < 100 and len(checkpoint.tokens) > 300


def test_a_checkpoint_answers_one_question_at_a_time():
    checkpoint = Generating("a dog top-left", pause=0.01)
    respondent = Respondent("it", checkpoint)
    last = []
    askers = [
        threading.Thread(target=lambda: last.append([*respondent.answer(None, QUESTION, max_new_tokens=9)][-1]))
        for _ in range(4)
    ]
    for each in askers:
        each.start()
    for each in askers:
        each.join()
    assert len(last) == 4 and len(set(last)) == 1
    assert checkpoint.most_at_work == 1


@pytest.mark.parametrize("error", [RevisionError("the checkpoint does not answer"), RuntimeError("broken")])
def test_what_keeps_a_checkpoint_from_answering_reaches_who_asked(error):
    respondent = Respondent("it", Generating("a dog", fails=error))
    with pytest.raises(type(error), match=str(error)):
        [*respondent.answer(None, QUESTION, max_new_tokens=9)]


@pytest.mark.parametrize(
    "question, most, line",
    [
        ("?" * (MOST_CHARACTERS + 1), 9, f"at most {MOST_CHARACTERS}"),
        (QUESTION, 0, "not 0"),
        (QUESTION, MOST_NEW_TOKENS + 1, f"1 to {MOST_NEW_TOKENS}"),
    ],
)
def test_questions_and_answers_are_bounded(question, most, line):
    checkpoint = Generating("a dog")
    with pytest.raises(RevisionError, match=line):
        [*Respondent("it", checkpoint).answer(None, question, max_new_tokens=most)]
    assert not checkpoint.made


def test_a_question_that_is_none_is_refused_in_one_line(answering, picture):
    (respondent,) = load_respondents([("it", str(answering))], base=None, device="cpu")
    for question, line in {"": "give one", "see <image> here": "holds <image>", "a\0b": "holds NUL"}.items():
        with pytest.raises(RevisionError, match=line) as refused:
            answers(respondent, picture, question)
        assert "\n" not in str(refused.value)


def test_a_checkpoint_is_called_by_its_folder_or_by_the_name_it_is_given(tmp_path):
    (tmp_path / "a=b").mkdir()
    given = ["runs/stage2-realign", "runs/other/", "mine=runs/other", str(tmp_path / "a=b")]
    assert named_models(given) == [
        ("stage2-realign", "runs/stage2-realign"),
        ("other", "runs/other/"),
        ("mine", "runs/other"),
        ("a=b", str(tmp_path / "a=b")),
    ]


@pytest.mark.parametrize(
    "given, line", [(["a/x", "b/x"], "called 'x' too; write NAME=PATH"), (["=x"], "write PATH"), (["x="], "write PATH")]
)
def test_names_that_are_none_are_refused(given, line):
    with pytest.raises(RevisionError, match=line):
        named_models(given)
