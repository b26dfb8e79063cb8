import io
import json
import logging
import sys

import pytest
import structlog

from cds.settings import Settings
from hooks import logs


@pytest.fixture
def configure(monkeypatch):
    """Configure logging to the settings given; a call of the result gives the lines logged since, each a dict."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    levels = {name: logging.getLogger(name).level for name in logs.TALKATIVE}

    def configured(**settings):
        stream = io.StringIO()
        monkeypatch.setattr(sys, "stderr", stream)
        logs.configure(Settings(**settings))
        return lambda: [json.loads(line) for line in stream.getvalue().splitlines()]

    yield configured
    root.handlers = handlers
    root.setLevel(level)
    for name, before in levels.items():
        logging.getLogger(name).setLevel(before)
    structlog.reset_defaults()


@pytest.fixture
def lines(configure):
    return configure(log_level="DEBUG")


def test_ours_and_the_libraries_lines_are_json_with_level_time_and_logger(lines):
    structlog.get_logger("hooks.x").warning("study read", seconds=1.5)
    logging.getLogger("cds.y").info("took %d tries", 3, extra={"error": "Timeout"})
    ours, theirs = lines()
    assert (ours["event"], ours["seconds"], ours["level"], ours["logger"]) == (
        "study read",
        1.5,
        "warning",
        "hooks.x",
    )
    assert (theirs["event"], theirs["error"], theirs["level"]) == ("took 3 tries", "Timeout", "info")
    assert ours["timestamp"].endswith("Z")


def test_the_job_stands_on_every_line_of_its_work(lines):
    with logs.bind(job="job-1"):
        structlog.get_logger("a").info("ours")
        logging.getLogger("b").info("theirs")
    structlog.get_logger("a").info("after")
    assert [line.get("job") for line in lines()] == ["job-1", "job-1", None]


@pytest.mark.parametrize(
    ("said", "hidden"),
    [
        ("GET http://fhir.example/ImagingStudy?patient=p-77&x=1 failed", "p-77"),
        ("no answer from redis://user:hunter2@10.0.0.1/0", "hunter2"),
        ("sent Authorization: Bearer abc.def-123", "abc.def"),
        ("sent Basic dXNlcjpwYXNz", "dXNlcjpwYXNz"),
        ("reading Patient/p-77 now", "p-77"),
        ("input_value='Encounter/e-77' is no reference", "e-77"),
        ("Max retries exceeded with url: /fhir/ImagingStudy?patient=p-77 (Caused by", "p-77"),
    ],
)
def test_what_must_not_be_logged_is_not(lines, said, hidden):
    log = structlog.get_logger("a")
    log.warning(said, detail=said, more={"deep": [said]})
    logging.getLogger("b").warning(said)
    try:
        raise ValueError(said)
    except ValueError:
        log.exception("bug")
    text = json.dumps(lines(), ensure_ascii=False)
    assert hidden not in text
    assert text.count("…") == 5  # three times in the first line, then in the second and in the exception


def test_an_exception_is_told_with_its_lines_and_without_variables(lines):
    def secretive():
        patient_name = "Doe^Jane"
        raise RuntimeError("boom") if patient_name else None

    try:
        secretive()
    except RuntimeError:
        structlog.get_logger("a").exception("bug")
    (line,) = lines()
    assert "RuntimeError: boom" in line["exception"]
    assert "in secretive" in line["exception"]
    assert "Doe^Jane" not in line["exception"]


def test_talkative_libraries_are_quiet_below_warning(lines):
    logging.getLogger("urllib3.connectionpool").debug("GET /ImagingStudy/secret")
    logging.getLogger("sqlalchemy.engine").info("SELECT")
    assert lines() == []


def test_the_level_is_the_settings(configure):
    lines = configure(log_level="ERROR")
    structlog.get_logger("a").warning("quiet")
    structlog.get_logger("a").error("loud")
    assert [line["event"] for line in lines()] == ["loud"]


def test_what_stands_under_a_secret_name_is_masked_whatever_it_is(lines):
    log = structlog.get_logger("a")
    log.info("x", access_token="abc", Authorization="abc", patient_id="abc", body={"a": "abc"}, hook="abc")
    log.info("x", request={"userId": "abc", "clientAssertion": ["abc"]})
    text = json.dumps(lines())
    assert text.count("abc") == 1


def test_a_jwt_is_masked_wherever_it_stands(lines):
    structlog.get_logger("a").info("got eyJhbGciOiJFUzM4NCJ9.eyJpc3MiOiJ4In0.c2lnbmF0dXJl from 10.0.0.1")
    (line,) = lines()
    assert line["event"] == "got … from 10.0.0.1"
