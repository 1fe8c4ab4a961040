"""The study of views: its splitter by hand, its pictures, and a tiny run through both stages."""

import subprocess
import sys

import pytest
from conftest import ENVIRONMENT, ROOT

from revision_plugin.corpora.text_views import TextViews
from revision_plugin.demo import world
from revision_plugin.errors import RevisionError
from scripts.views import view_pictures
from scripts.views.views_page import QUESTIONS
from scripts.views.views_plan import BASE, BEST, CLAUSED, NAMED, VARIANTS, VIEWS, chosen

SIZES = "--texts 40 --images 40 --held-out 6 --stage1-steps 3 --stage2-images 10 --stage2-steps 2 --seeds 2".split()


def test_every_empty_quadrant_is_named():
    views = TextViews.parse(NAMED)
    text = "a dog top-left and a cat bottom-right on a red background"
    parts = views.split(text)
    assert sorted(parts) == ["a cat bottom-right", "a dog top-left", "a red background", "a red background"]
    assert parts.index("a dog top-left") < parts.index("a cat bottom-right") and parts == views.split(text)
    captions = [world.caption(scene) for scene in world.sample_scenes(200, seed=1, held_out=False)]
    assert {len(views.split(caption)) for caption in captions} == {4}
    firsts = {views.split(caption)[0].endswith("background") for caption in captions}
    assert firsts == {True, False}, "the empty ones stand at any place"


def test_what_is_compared_is_trained():
    names = {variant.name for variant in VARIANTS}
    with pytest.raises(RevisionError, match="no variant 'realign, 9x9'; there are: "):
        chosen(["realign, 9x9"])
    assert len(names) == len(VARIANTS) and {BASE, VIEWS, CLAUSED, BEST} <= names
    assert {name for _, *pair in QUESTIONS for name in pair} <= names
    assert (BASE, VIEWS) == ("realign, 1", "realign, 2x2:mask") and BEST.startswith(
        "monge + clauses, empty parts named"
    )


def test_the_pictures(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["view_pictures", "--out", str(tmp_path)])
    view_pictures.main()
    assert {path.name for path in tmp_path.iterdir()} == {"views.png", "views.svg"}


@pytest.mark.slow
def test_a_tiny_run_writes_the_page(tmp_path):
    command = [sys.executable, "-m", "scripts.views", "--out", tmp_path / "out", *SIZES, "--only", BASE, BEST]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, cwd=ROOT, env=ENVIRONMENT)
    assert done.returncode == 0, done.stderr[-3000:]
    page = (tmp_path / "out" / "report" / "views-measured.md").read_text()
    assert "**A reduced run.**" in page and f"| {BASE} | 1 |" in page and f"| {BEST} | 5 |" in page
    browsed = (tmp_path / "out" / "report" / "report.html").read_text()
    assert f'<th scope="row">{BASE}</th>' in browsed and "All variants at a glance" in browsed
    assert "empty parts named, too, against one vector" in page and "crop against mask" not in page
