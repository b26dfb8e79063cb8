"""What becomes of work that fails, by the way in which it fails."""

import pytest
from structlog.testing import capture_logs

from cds.errors import StoreError, UpstreamUnavailable
from cds.settings import Settings
from hooks.attempts import Failed, attempt, backoff


def failing(error):
    def work():
        raise error

    return work


def test_what_succeeds_is_handed_on():
    assert attempt("report", lambda: "DiagnosticReport/1") == "DiagnosticReport/1"


def test_an_error_of_ours_is_the_reason_and_a_warning():
    with capture_logs() as lines:
        failed = attempt("report", failing(UpstreamUnavailable("the FHIR server is out")))
    assert failed == Failed("the FHIR server is out")
    (line,) = lines
    assert (line["event"], line["log_level"], line["error"]) == (
        "report not written",
        "warning",
        "UpstreamUnavailable",
    )


def test_a_bug_is_logged_as_one_and_its_words_go_no_further():
    """They may hold what it stumbled over."""
    with capture_logs() as lines:
        failed = attempt("signature", failing(KeyError("Müller")))
    assert isinstance(failed, Failed)
    assert str(failed.problem) == "internal error (KeyError)"
    (line,) = lines
    assert (line["event"], line["log_level"]) == ("signature not written: bug", "error")


def test_a_store_that_fails_can_note_nothing():
    with pytest.raises(StoreError):
        attempt("report", failing(StoreError("the disk is full")))


def test_backoff_doubles_up_to_its_limit_with_full_jitter():
    settings = Settings(job_backoff_s=2.0, job_backoff_max_s=30.0)
    for failures, longest in ((1, 2), (2, 4), (3, 8), (4, 16), (5, 30), (5000, 30)):
        pauses = [backoff(settings, failures) for _ in range(400)]
        assert 0 <= min(pauses) < longest * 0.1
        assert longest * 0.9 < max(pauses) <= longest
