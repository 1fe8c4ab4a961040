"""The geometry's and the quickstart's page in a real browser, from disk, at the size of a desktop and of a phone."""

import time

import pytest
from browser import PATIENCE, SIZES, chromium, open_page, wait_until
from conftest import run
from sample_pages import sample_quickstart

pytestmark = pytest.mark.slow
CANVAS = "figure.plot .canvas"
TRACES = "() => document.querySelector('figure.plot').querySelectorAll('.scatterlayer .trace').length"
# the middle of a point of the figure's last cloud that nothing lies on
POINT = """() => {
    const points = [...document.querySelectorAll('figure.plot .scatterlayer .trace:last-child .point')];
    const box = points[0].getBoundingClientRect();
    return [box.x + box.width / 2, box.y + box.height / 2];
}"""


@pytest.fixture(scope="module")
def browser():
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def quickstart(tmp_path_factory):
    page, answers, captions = sample_quickstart()
    path = page.write(tmp_path_factory.mktemp("quickstart") / "report.html")
    return path.as_uri(), answers, captions


@pytest.fixture(scope="module")
def geometry(stores, world_files, tmp_path_factory):
    out = tmp_path_factory.mktemp("geometry") / "report"
    pair = ("--source", stores / "texts", "--target", stores / "images", "--images", world_files / "images")
    run("geometry", *pair, "--aligner", stores / "realign", "--out", out)
    return (out / "report.html").as_uri()


@pytest.fixture(params=["geometry", "quickstart"])
def address(request):
    page = request.getfixturevalue(request.param)
    return page if isinstance(page, str) else page[0]


@pytest.mark.parametrize("size", SIZES)
def test_a_page_opens_without_error_or_request_and_fits(browser, address, size):
    with open_page(browser, address, size) as watched:
        page = watched.page
        for canvas in page.locator(".canvas").all():  # figures are drawn as they come near
            canvas.scroll_into_view_if_needed()
            canvas.locator("svg").first.wait_for()
        assert watched.errors == []
        assert [request for request in watched.requests if not request.startswith(("data:", "blob:"))] == [address]
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "the body does not scroll sideways"
        assert page.evaluate("[...document.images].every((each) => each.hidden || !each.src || each.naturalWidth > 0)")


def hover(page):
    """Put the pointer on a point, again where the figure was not ready or moved; gives what its card says."""
    page.locator(CANVAS).first.scroll_into_view_if_needed()
    page.wait_for_selector(f"{CANVAS} .point")
    end = time.monotonic() + PATIENCE / 1000
    while page.locator("#hover").is_hidden():
        assert time.monotonic() < end, "no card appears"
        page.mouse.move(0, 0)
        page.mouse.move(*page.evaluate(POINT))
        page.wait_for_timeout(500)
    return page.inner_text("#hover .title")


def test_the_pointer_shows_caption_and_picture(browser, quickstart):
    address, _, captions = quickstart
    with open_page(browser, address) as watched:
        assert hover(watched.page) in captions
        assert watched.page.evaluate("document.querySelector('#hover img').naturalWidth") > 0


def test_the_arrow_keys_go_through_the_points(browser, quickstart):
    address, _, captions = quickstart
    with open_page(browser, address) as watched:
        page = watched.page
        canvas = page.locator(CANVAS).first
        canvas.scroll_into_view_if_needed()
        page.wait_for_selector(f"{CANVAS} .point")
        seen = []
        for key in ("ArrowRight", "ArrowRight", "ArrowRight", "ArrowLeft"):
            canvas.press(key)
            page.locator("#hover").wait_for(state="visible")
            seen.append(page.locator("#hover").bounding_box()["x"])
            assert page.inner_text("#hover .title") in captions
            page.wait_for_timeout(200)
        assert len(set(seen[:3])) > 1 and seen[3] == seen[1]
        canvas.press("Escape")
        page.locator("#hover").wait_for(state="hidden")
        assert watched.errors == []


def test_the_geometry_page_shows_the_stores_captions(browser, geometry, stores):
    from revision_plugin.embeddings.store import Store

    with open_page(browser, geometry) as watched:
        assert hover(watched.page) in Store.open(stores / "texts").column("text").to_pylist()


def test_the_legend_switches_an_aligner_off_and_on(browser, quickstart):
    with open_page(browser, quickstart[0]) as watched:
        page = watched.page
        page.wait_for_selector(f"{CANVAS} .point")
        key = page.get_by_role("button", name="texts, ReAlign")
        assert page.evaluate(TRACES) == 3 and key.get_attribute("aria-pressed") == "true"
        key.click()
        wait_until(page, f"({TRACES})() === 2")
        assert key.get_attribute("aria-pressed") == "false"
        key.press("Enter")  # by keyboard too
        wait_until(page, f"({TRACES})() === 3")


def test_the_filter_leaves_only_wrong_answers(browser, quickstart):
    address, answers, _ = quickstart
    wrong = [score for _, score in answers.replies["realign"] if score != 1]
    with open_page(browser, address, "phone") as watched:
        sheet = watched.page.locator(".pictures").last
        sheet.get_by_role("group", name="ReAlign, one vector").get_by_role("radio", name="wrong").check()
        assert sheet.locator(".card:visible").count() == len(wrong) < len(answers.asked)
        assert sheet.locator(".card.right:visible").count() == 0
        assert sheet.locator("output").inner_text() == str(len(wrong))
        sheet.get_by_role("group", name="question").get_by_role("radio", name="relation").check()
        assert 0 < sheet.locator(".card:visible").count() < len(wrong)


def test_the_switch_makes_page_and_figures_dark(browser, quickstart):
    with open_page(browser, quickstart[0]) as watched:
        page = watched.page
        page.wait_for_selector(f"{CANVAS} .point")
        fill = "getComputedStyle(document.querySelector('figure.plot .point')).fill"
        light = page.evaluate(fill), page.evaluate("getComputedStyle(document.body).backgroundColor")
        page.get_by_role("button", name="Dark").click()
        wait_until(page, f"{fill} !== {light[0]!r}")
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") != light[1]
        assert page.get_by_role("button", name="Light").is_visible()


def test_a_click_on_a_head_sorts_by_value(browser, quickstart):
    with open_page(browser, quickstart[0]) as watched:
        table = watched.page.locator("table").first
        head = table.get_by_role("button", name="centroid gap")
        cells = lambda: [float(cell) for cell in table.locator("tbody td:nth-child(2)").all_inner_texts()]  # noqa: E731
        head.click()
        assert cells() == [0.0, 0.0345, 0.4123]
        head.click()
        assert cells() == [0.4123, 0.0345, 0.0]
