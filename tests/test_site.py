"""The pages of docs/ as a site: built strictly, complete, and whole without a network."""

import importlib.util
import os
import re
import subprocess
import sys

import pytest
from conftest import ROOT

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("material") is None, reason="mkdocs-material is not in the classic set of libraries"
)
LOADED = re.compile(r"""<(?:script|link|img|iframe)\b[^>]*?\b(?:src|href)=["']?([^"'\s>]+)""")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A build that ends at the first link, anchor or page that is not there."""
    out = tmp_path_factory.mktemp("site") / "with a space"
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", out],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return out


def test_every_page_is_there_and_loads_nothing_from_a_network(site):
    pages = {path.stem for path in (ROOT / "docs").glob("*.md")}
    assert {path.stem for path in site.glob("*.html")} == {*pages, "404"}
    for name in pages:
        loaded = LOADED.findall((site / f"{name}.html").read_text())
        assert loaded and not [address for address in loaded if re.match(r"(\w+:)?//", address)], name
        files = [site / address.partition("#")[0] for address in loaded if not address.startswith("data:")]
        assert all(path.exists() for path in files), name
    style = "".join(path.read_text() for path in site.rglob("*.css"))
    assert not re.search(r"""url\(["']?(https?:)?//""", style)


def test_the_notebook_lies_beside_the_page_that_links_it(site):
    assert 'href="realign.ipynb"' in (site / "python-api.html").read_text()
    assert (site / "realign.ipynb").read_bytes() == (ROOT / "docs" / "realign.ipynb").read_bytes()


def test_each_page_begins_with_its_name_and_a_sentence():
    for path in sorted((ROOT / "docs").glob("*.md")):
        name, sentence = path.read_text().split("\n\n")[:2]
        assert re.fullmatch(r"# \S.*", name), path
        assert re.match(r"[A-Z`]", sentence) and sentence.endswith((".", ":")), f"{path}: {sentence}"


def test_the_search_finds_a_page_that_is_opened_from_disk(site):
    driven = pytest.importorskip("browser", reason="playwright is not in the classic set of libraries")
    with driven.chromium() as chromium:
        for size in driven.SIZES:
            with driven.open_page(chromium, (site / "index.html").as_uri(), size) as watched:
                page = watched.page
                assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), size
                if size == "phone":
                    page.click("label.md-header__button[for=__search]")
                page.click(".md-search__input")
                page.keyboard.type("phantom drift")
                found = page.locator(".md-search-result__link")
                found.first.wait_for()
                assert any("how-it-works.html" in str(link.get_attribute("href")) for link in found.all())
            assert not watched.errors and watched.requests and not driven.beyond_this_machine(watched.requests)
