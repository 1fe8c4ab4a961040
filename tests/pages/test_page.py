"""The room of pages: what it writes, read as a parser of HTML reads it."""

import base64
import hashlib
import io
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image
from plotly.graph_objects import Figure, Scatter
from sample_pages import sample_quickstart

from revision_plugin.pages import COLORS, Card, Page, command_line, page_of_markdown, thumbnail
from revision_plugin.pages.figures import PALETTE

HOSTILE = "</script></title><script>alert(1)</script><img src=x onerror=alert(2)>\"'&<!--"
LOADS = {"src", "href", "srcset", "data", "poster", "action", "formaction", "background", "ping"}
WHITE, DARK = "#ffffff", "#0f1317"  # the pages' backgrounds
READABLE = 3  # the contrast that WCAG asks of what is not text


class Elements(HTMLParser):
    """All elements with their attributes, and the text of each script."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.scripts, self.text = [], [], []
        self.inside = None
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        self.inside = tag
        if tag == "script":
            self.scripts.append((dict(attributes), ""))

    def handle_endtag(self, tag):
        self.inside = None

    def handle_data(self, data):
        if self.inside == "script":
            attributes, text = self.scripts[-1]
            self.scripts[-1] = attributes, text + data
        else:
            self.text.append(data)


def page_of(words: str) -> Page:
    """A page of every piece, with these words wherever it takes any."""
    card = Card(words, [(words, words)], alt=words, tags={words: words}, mark="wrong")
    page = Page(words, words)
    page.key_figures([(words, words)])
    page.section(words, words, f"`{words}`")
    page.bullets([words])
    page.table([words, "b"], [[words, 1], ["x", 2]], caption=words)
    figure = Figure(Scatter(x=[1, 2], y=[1, 2], name=words, customdata=[0, 1]))
    page.figure(figure, caption=words, alt=words, cards=[card, card])
    page.pictures([card, Card("b", tags={words: "other"})], caption=words)
    page.facts(words, {words: words, "command": words})
    page.limits([words])
    return page


@pytest.fixture(scope="module")
def hostile():
    return Elements(page_of(HOSTILE).html())


def test_hostile_text_makes_no_element(hostile):
    plain = Elements(page_of("words").html())
    assert [(tag, [*names]) for tag, names in hostile.elements] == [(tag, [*names]) for tag, names in plain.elements]
    assert not [name for _, attributes in hostile.elements for name in attributes if name.startswith("on")]
    run = [text for attributes, text in hostile.scripts if attributes.get("type") != "application/json"]
    assert len(run) == 2, "plotly's and the page's own"
    assert not any("alert(1)" in text for text in run)
    assert HOSTILE in "".join(hostile.text), "it is shown as it is"


def test_hostile_text_in_data_is_what_was_given(hostile):
    data = [json.loads(text) for attributes, text in hostile.scripts if attributes.get("type") == "application/json"]
    assert data[0]["cards"][0]["title"] == HOSTILE and data[0]["data"][0]["name"] == HOSTILE


def test_only_the_two_scripts_may_run(hostile):

    (policy,) = [a["content"] for tag, a in hostile.elements if tag == "meta" and "http-equiv" in a]
    allowed = set(re.findall(r"'(sha256-[^']+)'", policy))
    run = [text for attributes, text in hostile.scripts if attributes.get("type") != "application/json"]
    assert allowed == {"sha256-" + base64.b64encode(hashlib.sha256(t.encode()).digest()).decode() for t in run}
    assert policy.startswith("default-src 'none'") and "unsafe-eval" not in policy


def test_nothing_is_loaded_from_elsewhere():
    page, _, _ = sample_quickstart()
    text = page.html()
    for tag, attributes in Elements(text).elements:
        for name in LOADS & attributes.keys():
            assert re.match(r"#|data:", attributes[name]), f"<{tag} {name}={attributes[name]}>"
    css = re.findall(r"<style>(.*?)</style>", text, re.S)
    assert css and not any(re.search(r"url\(|@import", each) for each in css)


def test_a_page_with_figures_is_a_few_megabytes_and_one_without_is_small(tmp_path):
    page, _, _ = sample_quickstart()
    assert page.write(tmp_path / "a.html").stat().st_size < 6e6
    plain = Page("words")
    plain.text("alone")
    assert plain.write(tmp_path / "b.html").stat().st_size < 50_000, "plotly rides along only where it is needed"


def test_a_picture_of_many_cards_is_kept_once():
    picture = thumbnail(np.zeros((8, 8, 3), np.uint8))
    page = Page("pictures")
    page.pictures([Card(str(n), picture=picture) for n in range(50)])
    assert page.html().count(picture.partition(",")[2]) == 1


def test_a_thumbnail_is_small_and_keeps_its_shape():

    picture = thumbnail(Image.new("RGBA", (1000, 500), (200, 10, 10, 255)), 64)
    head, data = picture.split(",")
    assert head == "data:image/webp;base64"
    image = Image.open(io.BytesIO(base64.b64decode(data)))
    assert image.size == (64, 32) and abs(image.convert("RGB").getpixel((5, 5))[0] - 200) < 8


def test_what_no_page_can_show_is_refused():
    page = Page("refused")
    with pytest.raises(ValueError, match="data URI"):
        page.pictures([Card("a", picture="https://example.org/a.png")])
    with pytest.raises(ValueError, match="another length"):
        page.table(["a", "b"], [["1"]])


def test_numbers_that_are_none_are_gaps():
    page = Page("gaps")
    page.figure(Figure(Scatter(x=[1, 2], y=[float("nan"), 2])), caption="", alt="")
    (attributes, text), *_ = Elements(page.html()).scripts
    assert json.loads(text)["data"][0]["y"] == [None, 2]


def test_the_command_is_as_one_types_it(monkeypatch, tmp_path):
    monkeypatch.setattr("sys.argv", ["/usr/bin/revision", "geometry", "--out", "a b"])
    assert command_line() == "revision geometry --out 'a b'"
    package = tmp_path / "scripts" / "study"
    package.mkdir(parents=True)
    for folder in (package, package.parent):
        (folder / "__init__.py").touch()
    monkeypatch.setattr("sys.argv", [str(package / "__main__.py"), "x"])
    assert command_line() == "python -m scripts.study x"


def luminance(color):
    parts = [int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))


@pytest.mark.parametrize("name", PALETTE)
def test_colours_are_readable_on_both_backgrounds(name):
    light, dark = PALETTE[name]
    assert COLORS[name] == light
    for color, background in ((light, WHITE), (dark, DARK)):
        low, high = sorted((luminance(color), luminance(background)))
        assert (high + 0.05) / (low + 0.05) >= READABLE


def test_a_report_in_markdown_is_a_page():
    text = (
        "# Title\n\nTwo\n[lines](a.md) with **bold** and `code`.\n\n- one\n- two\n\n## Part\n\n### Smaller\n\n"
        "| a | b |\n| --- | --- |\n| x \\| y | 1.5 |\n\n![a picture](a.png)\n"
    )
    page = page_of_markdown(text, "unused")
    assert page.title == "Title"
    pieces = [(piece["kind"], piece.get("title") or piece.get("text") or piece.get("lines")) for piece in page.pieces]
    assert pieces == [
        ("text", "Two lines with **bold** and `code`."),
        ("bullets", ["one", "two"]),
        ("section", "Part"),
        ("subsection", "Smaller"),
        ("table", None),
    ]
    assert page.pieces[-1]["head"] == ["a", "b"] and page.pieces[-1]["rows"] == [["x | y", "1.5"]]
    assert "<strong>bold</strong> and <code>code</code>" in page.html()
    assert page_of_markdown("| a |\n| --- |\n| 1 |", "Given").title == "Given"
