"""hooks/error_page.py: errors in the reader's language, or what their status means, with the English below."""

import pytest

from cds.errors import StoreError
from cds.language import message
from hooks.app import create_app
from hooks.error_page import error_page, error_text
from tests.fakes.context import make_context


@pytest.fixture
def app(tmp_path):
    return create_app(make_context(tmp_path))


@pytest.mark.parametrize(
    ("language", "heading", "detail"),
    [
        ("en", "<h1>the store is out</h1>", None),
        ("de", "<h1>Im Augenblick nicht erreichbar", '<p class="small" lang="en">the store is out</p>'),
    ],
)
def test_english_alone_stands_below_what_the_status_means(app, language, heading, detail):
    with app.test_request_context(headers={"Accept-Language": language}):
        page = error_page(503, "the store is out").get_data(as_text=True)
        assert heading in page
        assert (detail or "<h1>") in page
        assert ('lang="en">the store' in page) is (detail is not None)


def test_scripts_are_told_in_one_line(app):
    with app.test_request_context(headers={"Accept-Language": "de"}):
        assert (
            error_text(403, message("Your role does not let you do this.")) == "Ihre Rolle erlaubt das nicht."
        )
        assert error_text(418, "teapot") == "Das hat nicht geklappt. (teapot)"
    with app.test_request_context():
        assert error_text(418, "teapot") == "teapot"


def test_a_page_that_cannot_be_made_says_so_in_german(app, monkeypatch):
    def broken(*_arguments, **_more):
        raise StoreError("the store is out")

    client = app.test_client()
    monkeypatch.setattr("hooks.worklist.any_visitor", broken)
    answer = client.get("/worklist", headers={"Accept-Language": "de"})
    assert answer.status_code == 503
    assert "Im Augenblick nicht erreichbar" in answer.text
