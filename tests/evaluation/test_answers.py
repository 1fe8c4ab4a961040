"""What counts as which answer: replies as real models give them."""

import pytest

from revision_plugin.evaluation.answers import letter, letters_named, options_in, short_answer, yes_or_no

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
        ("It is not red, it is green", None),
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
def test_letter(reply, expected):
    assert letter(reply, "ABCD", COLOURS) == expected


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
    assert letter(reply, "ABCDEFGHIJ", TEN) == expected


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
def test_letters_named(reply, expected):
    assert letters_named(reply, "ABCD", COLOURS) == frozenset(expected)


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
