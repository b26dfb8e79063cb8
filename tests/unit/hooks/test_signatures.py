"""The task of a signature: an outage is noted and tried again, and nothing is lost."""

from dataclasses import replace

import pytest

from cds.errors import StoreError, UpstreamUnavailable
from cds.fhir_client import HttpFhirServer
from cds.review import Change, ChangeKind, Signature, SignatureState, Verdict
from cds.settings import Settings
from cds.store import SqlAssessmentStore
from cds.values import Pattern, ReportState
from hooks.signatures import write_signed
from hooks.stroke import WorkerParts
from tests.fakes.assessments import READ_AT, assessment

ADA = {"user": "Practitioner/1", "name": "Dr. Ada"}


@pytest.fixture
def store(tmp_path):
    store = SqlAssessmentStore(f"sqlite:///{tmp_path}/store.db", report_grace_s=0.0)
    store.migrate()
    yield store
    store.close()


@pytest.fixture
def made(store):
    made = assessment()
    store.save(made, ReportState.PENDING)
    signature = Signature(
        assessment_key=made.key, number=1, signed_at=READ_AT, verdict=Verdict.AGREE, conclusion=Pattern.AML, **ADA
    )  # fmt: skip
    change = Change(number=1, at=READ_AT, kind=ChangeKind.SIGN, **ADA)
    store.sign(change, signature, SignatureState.PENDING)
    return made


def parts(store, fhir):
    return WorkerParts(
        settings=Settings(job_backoff_s=0.001, job_backoff_max_s=0.001, connect_timeout_s=1.0, read_timeout_s=1.0),
        store=store, archive=None, reader=None, fhir=fhir, submit_report=lambda key: None, stopping=None,
    )  # fmt: skip


class Broken:
    def __init__(self, error):
        self.error = error

    def __getattr__(self, name):
        raise self.error


def test_a_server_that_is_out_leaves_it_pending_with_the_reason_and_due_again(store, made):
    with HttpFhirServer("http://127.0.0.1:1/fhir", connect_timeout_s=1, read_timeout_s=1) as out:
        write_signed(parts(store, out), made.key)
    held = store.signed(made.key)
    assert held.state is SignatureState.PENDING
    assert str(held.problem) == "the report that it belongs to is not on the FHIR server yet"


def test_the_servers_own_reason_is_kept_once_the_report_is_there(store, made):
    store.mark_written(made.key, "DiagnosticReport/1")
    for _ in range(3):
        write_signed(parts(store, Broken(UpstreamUnavailable("the FHIR server is out"))), made.key)
    held = store.signed(made.key)
    assert (held.state, str(held.problem)) == (SignatureState.PENDING, "the FHIR server is out")


def test_a_bug_is_noted_like_an_outage(store, made):
    store.mark_written(made.key, "DiagnosticReport/1")
    write_signed(parts(store, Broken(ZeroDivisionError("secret"))), made.key)
    assert str(store.signed(made.key).problem) == "internal error (ZeroDivisionError)"


def test_a_store_that_fails_fails_the_task(store, made):
    store.mark_written(made.key, "DiagnosticReport/1")
    with pytest.raises(StoreError):
        write_signed(parts(store, Broken(StoreError("the store is out"))), made.key)


def test_without_a_server_it_says_so(store, made):
    write_signed(parts(store, None), made.key)
    assert str(store.signed(made.key).problem) == "no FHIR server is configured"


def test_what_is_written_or_not_there_is_left_alone(store, made):
    store.signature_written(made.key, 1)
    broken = parts(store, Broken(AssertionError("nobody asks the server")))
    write_signed(broken, made.key)
    write_signed(broken, "nothing")
    assert store.signed(made.key).state is SignatureState.WRITTEN


def test_the_next_signature_does_not_inherit_the_problem(store, made):
    write_signed(parts(store, None), made.key)
    again = replace(store.signed(made.key).signature, number=2)
    store.sign(Change(number=2, at=READ_AT, kind=ChangeKind.SIGN, **ADA), again, SignatureState.PENDING)
    assert store.signed(made.key).problem is None
