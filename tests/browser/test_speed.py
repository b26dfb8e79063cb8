"""The study page of 500 cells: what is asked for, how often, and how long it takes (thrice the aim, for busy machines;
`python -m benchmarks.page` tells the figures)."""

import statistics
from collections import Counter
from collections.abc import Iterator

import pytest
from playwright.sync_api import BrowserContext

from benchmarks.page import KEPT, add_study, paints, server_times
from tests.fakes.drawn_study import DrawnStudy
from tests.fakes.site import Site, served, sign_in


@pytest.fixture(scope="module")
def large(tmp_path_factory) -> Iterator[tuple[Site, DrawnStudy]]:
    with served(tmp_path_factory.mktemp("large")) as site:
        yield site, add_study(site, 500)


def test_pages_and_pictures_leave_the_server_at_once(large):
    site, drawn = large
    assert len(drawn.assessment.outcome.cells) == 500
    for what, times in server_times(site, drawn, 15).items():
        assert statistics.median(times) < 3 * 150, what


def test_it_is_painted_in_a_second(chromium, large):
    first, again = paints(chromium, *large)
    assert min(first, again) < 3 * 1000


@pytest.fixture
def context(chromium, large) -> Iterator[BrowserContext]:
    made = chromium.new_context(viewport={"width": 1366, "height": 800})
    sign_in(made, large[0])
    yield made
    made.close()


def test_pictures_come_as_they_come_into_view_and_each_once(context, large, monkeypatch):
    site, drawn = large
    asked: Counter[str] = Counter()
    context.on("request", lambda r: asked.update([r.url] if "/cells/" in r.url else []))
    answered: Counter[int] = Counter()
    cut = site.context.pages.pictures.thumbnail
    monkeypatch.setattr(
        site.context.pages.pictures, "thumbnail", lambda a, position: (answered.update([position]), cut(a, position))[1]
    )  # fmt: skip
    page = context.new_page()
    page.goto(site.page_of(drawn))
    page.wait_for_timeout(1500)
    in_view = len(asked)
    assert 10 < in_view < 400
    for _ in range(60):
        page.mouse.move(300, 600)
        page.mouse.wheel(0, 700)
        page.wait_for_timeout(40)
    page.wait_for_timeout(500)
    assert len(asked) > in_view
    assert set(asked.values()) == {1}
    assert 0 < sum(answered.values()) == len(answered) <= 500 - KEPT, (
        "one that the reader kept is not cut again"
    )
    seen = sum(answered.values())
    other = context.new_page()
    other.goto(site.page_of(drawn))
    other.wait_for_timeout(1500)
    assert sum(answered.values()) == seen, "the browser keeps them"
