"""hooks/languages.py: pages in the language of the browser."""

from flask import Flask, Response, render_template_string

from cds.language import message
from hooks.languages import LANGUAGE_COOKIE, page_languages

PAGE = '<p lang="{{ language() }}">{{ said }} {{ _n("1 <b>", "{count} <b>", 2) }} {{ number }} {{ said and 1 }}</p>'


def keep(response: Response, language: str) -> None:
    response.set_cookie(LANGUAGE_COOKIE, language)


def page(accepted: str | None, default: str = "en") -> str:
    app = Flask("page")
    page_languages(app, default, keep)
    app.add_url_rule(
        "/",
        "page",
        lambda: render_template_string(PAGE, said=message("{name} & more", name="<i>"), number=7),
    )
    return app.test_client().get("/", headers={"Accept-Language": accepted} if accepted else {}).text


def test_the_browsers_language_is_chosen_or_that_of_the_settings() -> None:
    assert 'lang="de"' in page("de-AT,de;q=0.9,en;q=0.5")
    assert 'lang="en"' in page("en-GB,de;q=0.5", "de")
    assert 'lang="de"' in page("fr, it", "de")
    assert 'lang="en"' in page(None)


def test_a_message_is_said_where_it_is_shown_and_escaped() -> None:
    assert page(None) == '<p lang="en">&lt;i&gt; &amp; more 2 &lt;b&gt; 7 1</p>'
