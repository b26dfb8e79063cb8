"""The development login: for whoever sits at this machine, and nowhere else."""

import re
from dataclasses import replace

import pytest

from cds.errors import ConfigurationError
from cds.settings import Settings
from hooks.app import create_app
from hooks.issuers import check_sign_in

LOCAL = {"host": "127.0.0.1", "development_login": True}


@pytest.fixture
def browser(context):
    settings = replace(context.settings, development_login=True, public_url="")
    return create_app(replace(context, settings=settings)).test_client()


def choose(browser, person, **form):
    return browser.post("/sign-in/development", data={"person": person, **form})


def test_a_name_is_chosen_and_every_page_says_what_that_means(browser):
    assert "Dr. Ada Reviewer" in browser.get("/sign-in").text
    answer = choose(browser, "reviewer-1", next="/feedback")
    assert (answer.status_code, answer.location) == (303, "/feedback")
    for path in ("/", "/worklist", "/feedback", "/sign-in", "/nope"):
        page = browser.get(path).text
        assert "DEVELOPMENT LOGIN" in page
    assert "Dr. Ada Reviewer, reviewer" in page


def test_who_signs_in_again_needs_the_token_of_the_session_before(browser):
    choose(browser, "reviewer-1")
    assert choose(browser, "operator-1").status_code == 403
    token = re.findall(r'name="csrf_token" value="(\w+)"', browser.get("/sign-in").text)[0]
    assert choose(browser, "operator-1", csrf_token=token).status_code == 303
    assert "Olga Operator" in browser.get("/").text


def test_a_clinician_sees_one_patient(browser):
    assert choose(browser, "clinician-1", patient="p-2").status_code == 303
    assert "one patient" in browser.get("/worklist").text
    for wrong in ("", "a b", "p/../x", "x" * 70):
        assert choose(browser, "clinician-1", patient=wrong).status_code in (400, 403)


def test_somebody_not_on_the_page_is_nobody(browser):
    assert choose(browser, "root").status_code == 400


@pytest.mark.parametrize(
    "elsewhere",
    [
        {"environ_overrides": {"REMOTE_ADDR": "192.0.2.7"}},
        {"headers": {"X-Forwarded-For": "192.0.2.7"}},
        {"headers": {"Forwarded": "for=192.0.2.7"}},
        {"headers": {"Origin": "https://evil.example"}},
        {"headers": {"Origin": "null"}},
    ],
)
def test_nobody_from_elsewhere_gets_in(browser, elsewhere):
    answer = browser.post("/sign-in/development", data={"person": "reviewer-1"}, **elsewhere)
    assert answer.status_code == 403
    assert "Set-Cookie" not in answer.headers


@pytest.mark.parametrize(
    "changes",
    [
        {"host": "0.0.0.0"},
        {"host": "192.0.2.1"},
        {"public_url": "https://leuko.example"},
        {"sign_in": "sign-in.toml"},
    ],
)
def test_the_service_does_not_start_with_it_elsewhere(changes):
    with pytest.raises(ConfigurationError, match="DEVELOPMENT_LOGIN"):
        check_sign_in(Settings(**{**LOCAL, **changes}))
    check_sign_in(Settings(**LOCAL))
    check_sign_in(Settings(**LOCAL, public_url="http://localhost:8702"))
