import hashlib
import json
import pickle
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from revision_plugin.corpora.text_views import TextViews
from revision_plugin.errors import RevisionError

CLAUSES = [
    # drawn scenes
    ("en", "a dog top-left and a cat bottom-right on a red background",
     ["a dog top-left", "a cat bottom-right on a red background"]),
    ("en", "a sun top-left on a blue background", []),
    # web captions
    ("en", "salt and pepper", []),
    ("en", "two dogs, three cats and birds", ["two dogs", "three cats and birds"]),
    ("en", "a dog and cats and a bird", ["a dog and cats", "a bird"]),
    ("en", "a black and white cat sitting on a large, fluffy bed", []),
    ("en", "a red, white, and blue flag, and a man", ["a red, white, and blue flag", "a man"]),
    ("en", "the house is white and the sky above is blue", ["the house is white", "the sky above is blue"]),
    ("en", "Red Nike Shoes - Size 42 | Buy Online", ["Red Nike Shoes", "Size 42", "Buy Online"]),
    ("en", "a well-known man in a rock-and-roll shirt", []),
    ("en", "Portland, OR 97201", ["Portland", "OR 97201"]),
    ("en", "Cats And Dogs Of The World And The Sea", ["Cats And Dogs Of The World", "The Sea"]),
    ("en", "A DOG ON A MAT AND A CAT ON A BED", ["A DOG ON A MAT", "A CAT ON A BED"]),
    ("en", "cat,dog,bird", ["cat", "dog", "bird"]),
    ("en", "woman—smiling at us—waves", ["woman", "smiling at us", "waves"]),
    ("en", "a desk with a lamp as well as a chair", ["a desk with a lamp", "a chair"]),
    # numbers, sizes, addresses, quotations, parentheses
    ("en", "The town has 1,000,000 people at 3:15, they say", ["The town has 1,000,000 people at 3:15", "they say"]),
    ("en", "the storm of January 5, 2019", []),
    ("en", "a board of 10 - 20 cm", []),
    ("en", 'a 5" x 7" frame, and a 4" vase', ['a 5" x 7" frame', 'a 4" vase']),
    ("en", "see https://a.com/x,y;z: a dog, a cat", ["see https://a.com/x,y;z: a dog", "a cat"]),
    ("en", 'He wrote "red roses, and white lilies" and left the house.',
     ['He wrote "red roses, and white lilies"', "left the house."]),
    ("en", "'Red, White and Blue' by Artist, oil on canvas", ["'Red, White and Blue' by Artist", "oil on canvas"]),
    ("en", "It’s the dogs’ bowl, and the cats’ bed", ["It’s the dogs’ bowl", "the cats’ bed"]),
    ("en", '"a dog on a mat, a cat on a bed"', ['"a dog on a mat', 'a cat on a bed"']),
    ("en", "A man (left, in a hat) and his dog walk; the sun shines: a nice day.",
     ["A man (left, in a hat)", "his dog walk", "the sun shines", "a nice day."]),
    ("en", "a smile (open, a dog, a cat", ["a smile (open", "a dog", "a cat"]),
    # a long caption
    ("en", "The image shows a street in the U.S. at night. Dr. Lee, in a coat, waits for a bus... and reads! "
           "Behind him, there are neon signs, e.g. of a bar; a taxi passes.",
     ["The image shows a street in the U.S. at night.", "Dr. Lee", "in a coat", "waits for a bus... and reads!",
      "Behind him", "there are neon signs", "e.g. of a bar", "a taxi passes."]),
    # short parts join their neighbour
    ("en", "OK, a dog in a park", []),
    ("en", "a dog in a park, no, a cat on a wall", ["a dog in a park, no", "a cat on a wall"]),
    # other languages
    ("de", "Ein Hund links oben und eine Katze rechts unten, ein schwarzer und weißer Vogel fliegt.",
     ["Ein Hund links oben", "eine Katze rechts unten", "ein schwarzer und weißer Vogel fliegt."]),
    ("de", "Ein Boot auf der Oder im Winter", []),
    ("fr", "Un chat noir et blanc dort sur un lit et un chien court dans le jardin",
     ["Un chat noir et blanc dort sur un lit", "un chien court dans le jardin"]),
    ("fr", "Où est la gare ou le port de la ville ?", ["Où est la gare", "le port de la ville ?"]),
    ("es", "Un perro arriba y un gato abajo; hace 3,5 grados", ["Un perro arriba", "un gato abajo", "hace 3,5 grados"]),
    ("it", "Un cane in alto e un gatto in basso, ma non piove",
     ["Un cane in alto", "un gatto in basso", "non piove"]),
    ("pt", "Um cão em cima e um gato em baixo: vitamina E pura", ["Um cão em cima", "um gato em baixo",
                                                                 "vitamina E pura"]),
    ("nl", "Een hond linksboven en een kat rechtsonder, zwart en wit behang",
     ["Een hond linksboven", "een kat rechtsonder", "zwart en wit behang"]),
    ("zh", "一只狗在左上角，一只猫在右下角。桌上有一只杯子和一本书",
     ["一只狗在左上角", "一只猫在右下角。", "桌上有一只杯子", "一本书"]),
    ("zh", "穿着和服的女人", []),
    ("ja", "左上に犬、右下に猫。空は青くしかし風が強い", ["左上に犬", "右下に猫。", "空は青く", "風が強い"]),
    ("ru", "Собака слева и кошка справа, а также чёрная и белая птица",
     ["Собака слева", "кошка справа", "чёрная и белая птица"]),
    ("ar", "كلب في الأعلى، قطة في الأسفل ولكن السماء زرقاء", ["كلب في الأعلى", "قطة في الأسفل", "السماء زرقاء"]),
    ("hi", "ऊपर एक कुत्ता और नीचे एक बिल्ली है। काला और सफेद घोड़ा",
     ["ऊपर एक कुत्ता", "नीचे एक बिल्ली है।", "काला और सफेद घोड़ा"]),
    ("ko", "왼쪽 위에 개 그리고 오른쪽 아래에 고양이", ["왼쪽 위에 개", "오른쪽 아래에 고양이"]),
    ("pl", "Pies po lewej i kot po prawej", ["Pies po lewej", "kot po prawej"]),
    ("tr", "Solda bir köpek ve sağda bir kedi", ["Solda bir köpek", "sağda bir kedi"]),
    # a language without a table: by punctuation alone
    ("sw", "mbwa mkubwa na paka mdogo, mti mmoja", ["mbwa mkubwa na paka mdogo", "mti mmoja"]),
]  # fmt: skip

SENTENCES = [
    ("en", "Dr. Smith met Mr. Jones at 3.15 p.m. in the U.S. embassy. They talked... and left! Did they? Yes.",
     ["Dr. Smith met Mr. Jones at 3.15 p.m. in the U.S. embassy.", "They talked... and left!", "Did they?", "Yes."]),
    ("en", "a dog. a cat, a bird", ["a dog.", "a cat, a bird"]),
    ("en", "1. A red car. 2. A blue car. 3. A truck.", ["A red car.", "A blue car.", "A truck."]),
    ("en", "1) a dog 2) a cat 3) a bird", ["a dog", "a cat", "a bird"]),
    ("en", "a shelf of 12) jars", []),
    ("en", "- a dog\n- a cat\r\n* a bird", ["a dog", "a cat", "a bird"]),
    ("en", "We see:\n 1. A red car\n 2. A blue car", ["We see:", "A red car", "A blue car"]),
    ("en", "• a dog • a cat • a bird", ["a dog", "a cat", "a bird"]),
    ("en", "A Title\n\n---\n\nThe body of it", ["A Title", "The body of it"]),
    ("en", "a brown dog runs across a field of tall grass and is\nfollowed by a cat", []),
    ("en", "Visit www.Amazon.Com now. It ships.", ["Visit www.Amazon.Com now.", "It ships."]),
    ("en", "🙂 Hello! 🙂 Hi there. 🎉", ["🙂 Hello!", "🙂 Hi there. 🎉"]),
    ("de", "Am 3. Mai kam z.B. Dr. Müller. Es regnet.", ["Am 3. Mai kam z.B. Dr. Müller.", "Es regnet."]),
    ("fr", "Il a rencontré M. Dupont et Mme. Roux. Il pleut.", ["Il a rencontré M. Dupont et Mme. Roux.", "Il pleut."]),
    ("nl", "Hij kwam o.a. met de fiets. Hij lacht.", ["Hij kwam o.a. met de fiets.", "Hij lacht."]),
    ("zh", "一只狗在奔跑。旁边有一只猫！", ["一只狗在奔跑。", "旁边有一只猫！"]),
    ("ja", "犬が走る。「すごい。」と彼は言った。", ["犬が走る。", "「すごい。」と彼は言った。"]),
    ("ar", "كلب يركض في الحديقة. هل القطة نائمة؟ نعم.", ["كلب يركض في الحديقة.", "هل القطة نائمة؟", "نعم."]),
    ("hi", "एक कुत्ता दौड़ रहा है। बिल्ली सो रही है।", ["एक कुत्ता दौड़ रहा है।", "बिल्ली सो रही है।"]),
]  # fmt: skip


@pytest.mark.parametrize("language, text, parts", CLAUSES)
def test_clauses(language, text, parts):
    assert TextViews.parse(f"clauses:{language}").split(text) == parts


@pytest.mark.parametrize("language, text, parts", SENTENCES)
def test_sentences(language, text, parts):
    assert TextViews.parse(f"sentences:{language}").split(text) == parts


@pytest.mark.parametrize("text", ["", " \n", "...", "!!! ???", "- \n- ", ",;:", "🎉", "🐶, 🐱", "\0", "a", "1. 2. 3."])
@pytest.mark.parametrize("spec", ["sentences", "clauses", "clauses:zh"])
def test_what_has_no_two_parts_has_none(spec, text):
    assert TextViews.parse(spec).split(text) == []


PIECES = st.sampled_from(
    ["a dog", "Cat", " and ", " or ", "black", "1,000", "e.g.", "https://a.b/c,d", "Dr. ", "1) ", "2. ", "- ", "🎉"]
    + list(" \n\r\t\0.,;:!?-—|•\"'“”«»‘’„()[]。，、「」和一。،है")
)


@settings(max_examples=300, deadline=None)
@given(st.lists(PIECES | st.text(max_size=3), max_size=40), st.sampled_from(["sentences", "clauses"]))
def test_parts_stand_in_the_text_in_order(pieces, kind):
    text = "".join(pieces).encode("utf-8", "ignore").decode()
    place = 0
    parts = TextViews.parse(kind).split(text)
    for part in parts:
        assert part and part == part.strip()
        place = text.index(part, place) + len(part)
    assert len(parts) != 1


def test_a_long_text_splits_as_its_sentences_do():
    """Beyond the stretch that the library is given at a time, and for one sentence that is longer than that."""
    views = TextViews.parse("clauses")
    caption = "A brown dog runs across a grassy field, and a cat sits on a wall. The sky is blue. "
    assert views.split(caption * 200) == views.split(caption) * 200
    assert TextViews.parse("sentences").split("word " * 1000 + "ends. It rains.") == [
        "word " * 1000 + "ends.",
        "It rains.",
    ]


def test_half_a_surrogate_pair_is_refused():
    with pytest.raises(RevisionError, match="half of a surrogate pair"):
        TextViews.parse("sentences").split("a \ud800 b")


def test_threads_split_alike():
    views = TextViews.parse("clauses")
    texts = [text for language, text, _ in CLAUSES if language == "en"] * 50
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(views.split, texts)) == [views.split(text) for text in texts]


@pytest.mark.parametrize(
    "spec, canonical",
    [("clauses", "clauses:en"), ("sentences", "sentences:en"), ("clauses:de", "clauses:de"), ("sentences:zh",) * 2],
)
def test_a_spec_and_its_canonical_form(spec, canonical):
    views = TextViews.parse(spec)
    assert str(views) == canonical and TextViews.parse(str(views)) == views
    assert json.loads(json.dumps(views.identity)) == views.identity
    assert pickle.loads(pickle.dumps(views)).split("Hallo, Welt") == views.split("Hallo, Welt")


def test_an_identity_tells_all_that_parts_depend_on():
    specs = ["sentences", "clauses", "sentences:de", "clauses:de"]
    identities = [TextViews.parse(spec).identity for spec in specs]
    assert len({json.dumps(each, sort_keys=True) for each in identities}) == len(specs)
    assert all(each["sentencex"] and each["rules"]["sentences"] for each in identities)
    assert [set(each["rules"]) for each in identities[:2]] == [{"sentences"}, {"sentences", "clauses"}]


@pytest.mark.parametrize(
    "spec, message",
    [
        ("", "give sentences"),
        ("words", "'words'.*give sentences.*clauses.*python:MODULE:FUNCTION"),
        ("clauses:", "'' is no ISO 639-1 code"),
        ("clauses:xx", "'xx' is no ISO 639-1 code"),
        ("clauses:DE", "'DE' is no ISO 639-1 code"),
        ("sentences:en:us", "'en:us' is no ISO 639-1 code"),
        ("sentences\n", "give sentences"),
        ("python", "write python:MODULE:FUNCTION"),
        ("python:json", "write python:MODULE:FUNCTION"),
        ("python::f", "write python:MODULE:FUNCTION"),
        ("python:.a:f", "write python:MODULE:FUNCTION"),
        ("python:no_such_module:f", "no_such_module does not import"),
        ("python:json:no_such", "json has no function 'no_such'"),
        ("python:json:__name__", "json has no function '__name__'"),
    ],
)
def test_an_invalid_spec(spec, message):
    with pytest.raises(RevisionError, match=message) as failure:
        TextViews.parse(spec)
    assert "\n" not in str(failure.value)


FUNCTIONS = """
def by_bar(text): return text.split("|")
def not_a_list(text): return ("a", "b")
def not_texts(text): return ["a", 1]
def blank(text): return ["a", " "]
def nothing(text): return []
def fails(text): raise KeyError("no\\nsuch")
"""


@pytest.fixture
def of_module(tmp_path, monkeypatch):
    """Views by a function of a module of the user's in the working directory."""
    monkeypatch.chdir(tmp_path)
    name = f"views_{hashlib.sha256(str(tmp_path).encode()).hexdigest()[:12]}"
    (tmp_path / f"{name}.py").write_text(FUNCTIONS)
    return lambda function: TextViews.parse(f"python:{name}:{function}")


def test_a_function_of_the_users(of_module, tmp_path):
    views = of_module("by_bar")
    assert views.split(" a b | c|d ") == ["a b", "c", "d"]
    assert views.split("a b") == [] and of_module("nothing").split("a b") == []
    (file,) = tmp_path.glob("*.py")
    assert views.identity == {
        "spec": str(views),
        "module": file.stem,
        "sha256": hashlib.sha256(FUNCTIONS.encode()).hexdigest(),
    }
    file.write_text(FUNCTIONS + "# changed\n")
    assert of_module("by_bar").identity != views.identity


@pytest.mark.parametrize(
    "function, message",
    [
        ("not_a_list", r"not_a_list gave \('a', 'b'\) for the text 'x y'"),
        ("not_texts", r"not_texts gave \['a', 1\]"),
        ("blank", r"blank gave \['a', ' '\]"),
        ("fails", "fails fails at the text 'x y': KeyError"),
    ],
)
def test_a_function_that_fails_is_named(of_module, function, message):
    with pytest.raises(RevisionError, match=message) as failure:
        of_module(function).split("x y")
    assert "\n" not in str(failure.value)
