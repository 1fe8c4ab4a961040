"""What counts as which answer: replies as real models give them."""

import json

import pytest
from conftest import ROOT

from revision_plugin.evaluation.replies import choice, choices, options_in, rules, short_answer, yes_or_no

COLOURS = {"A": "red", "B": "green", "C": "blue", "D": "dark blue"}
TEN = {chr(65 + i): f"item {i}" for i in range(10)}


@pytest.mark.parametrize(
    "reply, expected",
    [
        ("Yes", "yes"),
        ("no", "no"),
        ("YES.", "yes"),
        ("Yes, there is a dog in the image.", "yes"),
        ("No, the image does not show a cat.", "no"),
        ("**Yes**", "yes"),
        ("y", "yes"),
        ("N.", "no"),
        ("The answer is yes.", "yes"),
        ("The answer is: No", "no"),
        ("Answer: yes", "yes"),
        ("Yes, there is no doubt about it.", "yes"),
        ("The dog is on the left, so yes.", "yes"),
        ("I looked at every corner. No", "no"),
        ("<think>Is it yes? Hmm, no.</think>Yes", "yes"),
        ("<answer>no</answer>", "no"),
        ("At first I said yes. The answer is no.", "no"),
        ("\n\n Yes", "yes"),
        ("'No'", "no"),
        ("No idea.", None),
        ("No information is given.", None),
        ("Yes and no.", None),
        ("yes or no", None),
        ("I cannot tell.", None),
        ("", None),
        ("Maybe", None),
        ("Nobody is there", None),
        ("Yesterday", None),
        ("There is a dog.", None),
        ("I'm sorry, I can't help with that.", None),
    ],
)
def test_yes_or_no(reply, expected):
    assert yes_or_no(reply) == expected


@pytest.mark.parametrize(
    "reply, expected",
    [
        ("B", "B"),
        ("b", "B"),
        ("B.", "B"),
        ("(B)", "B"),
        ("[b]", "B"),
        (" B \n", "B"),
        ("**B**", "B"),
        ("B)", "B"),
        ("B:", "B"),
        ("B. green", "B"),
        ("B) green", "B"),
        ("(B) green", "B"),
        ("b. green", "B"),
        ("B: green", "B"),
        ("B - green", "B"),
        ("B green", "B"),
        ("A red", "A"),
        ("B\nBecause the sky is not shown.", "B"),
        ("The answer is B", "B"),
        ("The answer is (B).", "B"),
        ("The answer is b.", "B"),
        ("The answer is: B", "B"),
        ("Answer: B", "B"),
        ("answer:B", "B"),
        ("The correct answer is option B.", "B"),
        ("The correct option is B, because it is green.", "B"),
        ("The answer is B, not C.", "B"),
        ("I would choose B", "B"),
        ("Option B", "B"),
        ("It must be (B) in my view", "B"),
        ("I think it is B", "B"),
        ("I think the answer is A. No wait, the answer is B.", "B"),
        ("\\boxed{B}", "B"),
        ("$\\boxed{\\text{B}}$", "B"),
        ("<think>A or C?</think> B", "B"),
        ("<answer>B</answer>", "B"),
        ("green", "B"),
        ("Green.", "B"),
        ("The color is green.", "B"),
        ("It is dark blue", "D"),
        ("blue", "C"),
        ("The answer is green", "B"),
        ("It is not red, it is green", "B"),
        ("It is not green.", None),
        ("red or green", None),
        ("A or B", None),
        ("The answer is A or B", None),
        ("A. red B. green C. blue", None),
        ("(A) or (C)", None),
        ("A, B", None),
        ("A dog is shown", None),
        ("I do not know", None),
        ("I cannot say whether it is green", None),
        ("The answer is a dog", None),
        ("E", None),
        ("", None),
        ("None of the above", None),
        ("Because", None),
        ("1", None),
    ],
)
def test_choice(reply, expected):
    assert choice(reply, "ABCD", COLOURS) == expected


@pytest.mark.parametrize(
    "reply, expected",
    [
        ("I", "I"),
        ("I.", "I"),
        ("The answer is I.", "I"),
        ("J", "J"),
        ("item 7", "H"),
        ("I think so", None),
        ("I would say G", "G"),
        ("I do not see it", None),
    ],
)
def test_ten_letters(reply, expected):
    assert choice(reply, "ABCDEFGHIJ", TEN) == expected


@pytest.mark.parametrize(
    "reply, expected",
    [
        ("A, C", "AC"),
        ("A and C", "AC"),
        ("C, A", "AC"),
        ("AC", "AC"),
        ("(A)(C)", "AC"),
        ("(A), (C)", "AC"),
        ("A, B and D", "ABD"),
        ("The answer is A, C.", "AC"),
        ("The answers are A and C", "AC"),
        ("A; C", "AC"),
        ("A", "A"),
        ("The answer is D", "D"),
        ("green", "B"),
        ("all of them", ""),
        ("", ""),
    ],
)
def test_choices(reply, expected):
    assert choices(reply, "ABCD", COLOURS) == frozenset(expected)


@pytest.mark.parametrize(
    "reply, gold, right",
    [
        ("42", "42", True),
        ("42.", "42", True),
        ("42 cm", "42", True),
        ("The answer is 42", "42", True),
        ("forty", "42", False),
        ("two", "2", True),
        ("There are three cars.", "3", True),
        ("1,024", "1024", True),
        ("3.14159", "3.14", True),
        ("3.2", "3.14", False),
        ("-5", "-5", True),
        ("5", "-5", False),
        ("2 or 3", "3", False),
        ("50%", "50", True),
        ("Downhill", "downhill", True),
        ("It is downhill.", "Downhill", True),
        ("uphill or downhill", "downhill", False),
        ("It is not downhill", "downhill", False),
        ("the red car", "red car", True),
        ("I cannot tell if it is downhill", "downhill", False),
        ("Yes, it is", "Yes", True),
        ("Yes", "No", False),
        ("", "42", False),
        ("", "downhill", False),
    ],
)
def test_short_answer(reply, gold, right):
    assert short_answer(reply, gold) is right


def test_options_in_a_question():
    assert options_in("What?\nA. red\nB. green apple\n(C) blue") == {"A": "red", "B": "green apple", "C": "blue"}
    assert options_in("Which?\nOptions: A: red, B: green, C: two, or three") == {
        "A": "red",
        "B": "green",
        "C": "two, or three",
    }
    assert options_in("What is in A. Smith's hand?") == {}
    assert options_in("") == {}


RULES = [*rules.DENIALS, *rules.CLAIMS, rules.LEADING, rules.FIRST_SENTENCE]


@pytest.mark.parametrize("rule", RULES, ids=[rule.name for rule in RULES])
def test_every_rule_shows_what_it_does(rule):
    assert rule.cases and rule.why
    for reply, expected in rule.cases:
        assert choice(reply, "ABCD", COLOURS) == expected, reply


def answered(entry):
    """What is read in a reply of the collection."""
    options = entry.get("options", {})
    letters = "".join(options) or "ABCDEFGHIJ"
    if entry["kind"] == "choice":
        return choice(entry["reply"], letters, options)
    if entry["kind"] == "choices":
        return "".join(sorted(choices(entry["reply"], letters, options)))
    if entry["kind"] == "yesno":
        return yes_or_no(entry["reply"])
    return short_answer(entry["reply"], entry["gold"])


def test_a_collection_of_replies_as_people_read_them():
    """Replies in the wordings of many models, each with what a careful reader takes for its answer; those marked
    `missed` are understood by people only.
    """
    lines = (ROOT / "tests" / "data" / "replies.jsonl").read_text(encoding="utf-8").splitlines()
    entries = [json.loads(line) for line in lines]
    wrong = [entry for entry in entries if answered(entry) != entry["answer"]]
    assert [entry for entry in wrong if not entry.get("missed")] == []
    assert len(wrong) <= 0.015 * len(entries) and len(entries) > 1000


OWN_TEXTS = {"A": "B/(D+A)", "B": "D/(B+D)", "C": "Machine A: fast", "D": "A and C", "E": "25 °C"}


@pytest.mark.parametrize(
    "reply, expected",
    [
        ("B. D/(B+D)", "B"),
        ("C. Machine A: fast", "C"),
        ("D. A and C", "D"),
        ("E. 25 °C", "E"),
        ("It is 25 °C", "E"),
        ("25 °C, so E", "E"),
        ("The current is 7 A", None),
        ("It lacks vitamin C", None),
        ("A", "A"),
    ],
)
def test_letters_within_the_texts_of_options(reply, expected):
    assert choice(reply, "ABCDE", OWN_TEXTS) == expected


@pytest.mark.parametrize(
    "part",
    [
        "A. red\n",
        "the answer is ",
        "((((",
        "Yes No ",
        "yes or no ",
        "no, wait ",
        "not (",
        "1,000,",
        "\\boxed{",
        ". ",
        "if ",
    ],
)
def test_long_replies_are_read_to_their_end(part):
    reply = part * (100_000 // len(part)) + " The answer is B."
    assert choice(reply, "ABCD", COLOURS) in ("B", None)
    assert yes_or_no(reply) in ("yes", "no", None) and short_answer(reply, "42") is False


def test_what_a_number_may_be_off_by():
    assert short_answer("0.0021", "0.0021") and not short_answer("0.0043", "0.0021")
    assert short_answer("7,243", "7243") and short_answer("2 x 10^6", "2 million") and short_answer("24/7", "3.43")
    assert not short_answer("12 mm", "12 cm") and short_answer("12 volts", "12 V")


def test_options_in_one_line():
    assert options_in("It rains. Select from A, B and C. (A) True (B)False (C)Insufficient Information") == {
        "A": "True",
        "B": "False",
        "C": "Insufficient Information",
    }
    assert options_in("Which box? Select from A, B, and C. (A) (B) (C)") == {"A": "", "B": "", "C": ""}


@pytest.mark.parametrize(
    "question, reply, expected",
    [
        ("Is there a clock in the image?", "It is not true that there is a clock in the image.", "no"),
        ("Is the man wearing a helmet?", "There is no doubt that the man is wearing a helmet.", "yes"),
        ("Is there a dog in the image?", "There isn't a dog in the image.", "no"),
        ("Is there a dog in the image?", "There are no dogs visible in this picture. It shows a kitchen.", "no"),
        ("Is there a traffic light?", "The image does not show any traffic light.", "no"),
        ("Is there a red traffic light?", "There is a red traffic light in the middle of the image.", "yes"),
        ("Is there a backpack?", "A backpack is not visible in the image.", "no"),
        ("Are the colors on tiles A and B the same?", "The colors on tiles A and B appear to be the same.", "yes"),
        ("Is the value of x smaller than 5?", "The value of x is 5, not smaller than 5.", "no"),
        ("Is there a dog?", "There is a cat.", None),
        ("Is there a dog?", "There is a dog but no cat.", None),
        ("Is there a cat or a dog?", "There is a cat.", None),
        ("Is this a dog?", "This might be a dog.", None),
        ("Is there a dog?", "Is there a dog?", None),
        ("Is there a dog?", "There is a dog. There is no dog.", None),
        ("Is there no dog?", "There is no dog.", None),
    ],
)
def test_a_reply_that_states_what_was_asked(question, reply, expected):
    assert yes_or_no(reply, question) == expected
