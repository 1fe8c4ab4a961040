"""Pages to look at: one HTML file that needs nothing else, to open from disk, to send, to print.

    page = Page("Geometry of the modality gap", "What two stores are to each other.")
    page.key_figures([("0.39", "centroid gap before"), ("0.03", "after ReAlign")])
    page.section("The gap", "Text in plain words; `code` in backticks. A section makes an entry of the contents.")
    page.text("A paragraph.", "Another one.")
    page.bullets(["a point", "another one"])
    page.table(["run", "accuracy"], [["ReAlign", "73.2"]], caption="What the numbers are.")
    page.figure(figure, caption="What is drawn.", alt="What one sees, for those who do not.", cards=cards)
    page.pictures(cards, caption="Questions and answers.")
    page.facts("What was run", {"command": command_line(), "time": "12 s", **version_facts()})
    page.limits(["One seed."])  # what the page does not show
    page.write(path)

The page follows the reader's light or dark setting and has a switch, fits a phone, prints, and loads nothing: a content
security policy in the file forbids it. All text is escaped; a caption can hold whatever it likes.

A figure is a `plotly.graph_objects.Figure` (or its dict). Leave fonts, backgrounds, legend and margins to the page.
Take colours from `COLORS` (`COLORS["blue"]`, or the colour of an aligner, `cloud_color("realign")`): each has a partner
for dark pages, which the page puts in. The legend is made of buttons below the figure, one for each name of a trace.
A trace whose `customdata` are numbers of `cards` shows these under the pointer and by the arrow keys: their picture,
title and lines.

A `Card` is one picture with its words: in a figure, or in a grid, where `tags` become filters:

    Card("is there a fox?", [("ReAlign", "yes"), ("right answer", "no")], picture=thumbnail(image),
         tags={"answer": "wrong", "question": "existence"}, mark="wrong")

A report in markdown is a page at once: `page = page_of_markdown(text, title)`, to which more can be added.
"""

from .figures import COLORS, cloud_color, faded
from .from_markdown import page_of_markdown
from .page import Page, command_line, version_facts
from .picture_cards import Card, shortened, thumbnail

__all__ = [
    "COLORS",
    "Card",
    "Page",
    "cloud_color",
    "command_line",
    "faded",
    "page_of_markdown",
    "shortened",
    "thumbnail",
    "version_facts",
]
