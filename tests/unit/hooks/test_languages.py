"""hooks/languages.py: pages in the language that their reader chose, or of the browser."""

import re

import pytest
from flask import Flask, Response, render_template_string

from cds.language import message
from cds.values import ReportState
from hooks.app import create_app
from hooks.languages import LANGUAGE_COOKIE, page_languages, unbroken
from tests.fakes.assessments import assessment, finding
from tests.fakes.signed_in import sign_in

PAGE = '<p lang="{{ language() }}">{{ said }} {{ _n("1 <b>", "{count} <b>", 2) }} {{ number }} {{ said and 1 }}</p>'


def keep(response: Response, language: str) -> None:
    response.set_cookie(LANGUAGE_COOKIE, language)


def page(accepted: str | None, default: str = "en", cookie: str | None = None) -> str:
    app = Flask("page")
    page_languages(app, default, keep)
    app.add_url_rule(
        "/",
        "page",
        lambda: render_template_string(PAGE, said=message("{name} & more", name="<i>"), number=7),
    )
    client = app.test_client()
    if cookie is not None:
        client.set_cookie(LANGUAGE_COOKIE, cookie)
    return client.get("/", headers={"Accept-Language": accepted} if accepted else {}).text


def test_the_browsers_language_is_chosen_or_that_of_the_settings() -> None:
    assert 'lang="de"' in page("de-AT,de;q=0.9,en;q=0.5")
    assert 'lang="en"' in page("en-GB,de;q=0.5", "de")
    assert 'lang="de"' in page("fr, it", "de")
    assert 'lang="en"' in page(None)


def test_what_the_reader_chose_comes_first() -> None:
    assert 'lang="de"' in page("en", "en", cookie="de")
    assert 'lang="en"' in page("de", "de", cookie="en")
    for nonsense in ("fr", "", "../de", "DE"):
        assert 'lang="de"' in page("de", cookie=nonsense)


def test_a_message_is_said_where_it_is_shown_and_escaped() -> None:
    assert page(None) == '<p lang="en">&lt;i&gt; &amp; more 2 &lt;b&gt; 7 1</p>'


@pytest.fixture
def browser(context):
    client = create_app(context).test_client()
    client.token = sign_in(client, context, may_operate=True)
    return client


def test_the_choice_is_kept_in_a_cookie_and_leads_back_to_the_page(browser, context):
    answer = browser.get("/worklist?search=A+7&language=de&state=failed")
    assert (answer.status_code, answer.location) == (303, "/worklist?search=A+7&state=failed")
    (cookie,) = answer.headers.getlist("Set-Cookie")
    for part in (
        f"{LANGUAGE_COOKIE}=de;",
        "Secure",
        "HttpOnly",
        "Path=/",
        "SameSite=Lax",
        "Max-Age=31536000",
    ):
        assert part in cookie
    page = browser.get(answer.location)
    assert '<html lang="de">' in page.text
    (link,) = re.findall(r'href="([^"]+)" lang="en" hreflang="en">English<', page.text)
    assert link == "/worklist?search=A+7&amp;state=failed&amp;language=en"
    browser.get(link.replace("&amp;", "&"))
    assert '<html lang="en">' in browser.get("/worklist", headers={"Accept-Language": "de"}).text


def test_a_choice_is_no_look_at_the_page(browser, context):
    made = assessment()
    context.store.save(made, ReportState.PENDING)
    before = len(context.store.audit())
    assert browser.get(f"/studies/{made.key}?language=de").status_code == 303
    assert len(context.store.audit()) == before


@pytest.mark.parametrize("language", ["fr", "", "de-AT", "../../de", "x" * 9000])
def test_what_is_no_language_of_ours_changes_nothing(browser, language):
    answer = browser.get("/worklist", query_string={"language": language})
    assert answer.status_code == (200 if len(language) < 5000 else answer.status_code)
    assert LANGUAGE_COOKIE not in str(answer.headers.getlist("Set-Cookie"))


@pytest.mark.parametrize("path", ["//evil.example", "/\\evil.example", "//evil.example/worklist"])
def test_a_choice_leads_to_no_other_host(browser, path):
    answer = browser.get("/", query_string={"language": "de"}, environ_overrides={"PATH_INFO": path})
    assert not (answer.location or "").startswith(("//", "/\\", "https://evil"))
    assert LANGUAGE_COOKIE not in str(answer.headers.getlist("Set-Cookie"))
    assert 'href="//' not in answer.text


def test_only_pages_that_can_be_shown_again_change_their_language(browser):
    for method, path in (("POST", "/sign-out?language=de"), ("GET", "/cds-services?language=de")):
        answer = browser.open(path, method=method)
        assert LANGUAGE_COOKIE not in str(answer.headers.getlist("Set-Cookie"))
    error = browser.post("/worklist/retry", data={"csrf_token": browser.token, "kind": "none", "item": "x"})
    assert 'href="/?language=de"' in error.text


def test_what_depends_on_the_language_says_so(browser):
    answer = browser.get("/worklist", headers={"Accept-Language": "de"})
    assert answer.headers["Content-Language"] == "de"
    assert {"accept-language", "cookie"} <= {name.lower() for name in answer.vary}
    assert "Content-Language" not in browser.get("/cds-services").headers


def test_the_worklists_rows_are_others_in_another_language(browser, context):
    context.store.save(assessment(), ReportState.PENDING)
    pages = {code: browser.get("/worklist", headers={"Accept-Language": code}).text for code in ("en", "de")}
    digests = {code: re.findall(r'data-digest="(\w+)"', page)[0] for code, page in pages.items()}
    assert digests["en"] != digests["de"]
    headers = {"If-None-Match": f'"{digests["en"]}"', "Accept-Language": "de"}
    assert browser.get("/worklist/rows", headers=headers).status_code == 200
    assert browser.get("/worklist/rows", headers={**headers, "Accept-Language": "en"}).status_code == 304


def test_scripts_get_their_answers_in_the_language(browser, context):
    made = assessment(outcome=finding(6))
    context.store.save(made, ReportState.PENDING)
    headers = {"X-CSRF-Token": browser.token, "Accept": "application/json", "Accept-Language": "de"}
    url = f"/api/studies/{made.key}"
    body = {"version": 0, "kind": "exclude", "cells": [0], "value": ""}
    done = browser.post(f"{url}/changes", json=body, headers=headers).json
    assert done["cells"]["0"]["name"] == "Ausgeschlossen"
    assert "1 Zelle ausgeschlossen" in done["html"]["history"]
    assert browser.get(f"{url}/review?since=-1", headers=headers).json["news"] == []
    early = browser.post(f"{url}/signature", json={"version": 1}, headers=headers)
    assert early.json["issue"][0]["diagnostics"].startswith(
        "Geben Sie zuerst an, ob Sie der Auswertung zustimmen"
    )
    late = browser.post(f"{url}/changes", json=body, headers=headers)
    assert late.status_code == 409
    assert "(Someone else" in late.json["issue"][0]["diagnostics"]  # what only operators read stays English


def test_the_cds_service_answers_programs_in_english(browser):
    answer = browser.get("/cds-services/none", headers={"Accept-Language": "de"})
    assert "takt" not in answer.text
    missing = browser.post("/cds-services/none", json={}, headers={"Accept-Language": "de"})
    assert "There is no CDS service of that id here" in missing.text


def test_a_heading_does_not_break_at_a_percent_sign(context):
    with create_app(context).test_request_context():
        assert unbroken(message("{n} % (95-%-CI)", n=41)) == "41\u00a0% (95\u2011%\u2011CI)"
