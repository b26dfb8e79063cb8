"""What the task of a signature does: write it to the FHIR server, or note why not, so that it is tried again."""

from functools import partial

import structlog

from cds.deadline import Deadline
from cds.language import message
from cds.review import Signature, SignatureState
from cds.signing import write_signature
from cds.values import ReportState
from hooks.attempts import Failed, attempt, backoff
from hooks.logs import bind
from hooks.stroke import WorkerParts, write_report

_log = structlog.get_logger(__name__)


def write_signed(parts: WorkerParts, assessment_key: str) -> None:
    """Write the pending signature under that assessment, after its report; a failure is noted. Raises StoreError."""
    store = parts.store
    with bind(assessment=assessment_key):
        signed = store.signed(assessment_key)
        if signed is None or signed.state is not SignatureState.PENDING:
            return
        signature = signed.signature
        failed = attempt("signature", partial(_write, parts, signature))
        if failed is None:
            store.signature_written(assessment_key, signature.number)
            _log.info("signature written", number=signature.number)
        else:
            pause = partial(backoff, parts.settings)
            store.signature_failed(assessment_key, signature.number, failed.problem, pause)


def _write(parts: WorkerParts, signature: Signature) -> Failed | None:
    """None once it is on the server, else why it cannot be yet."""
    if parts.fhir is None:
        return Failed(message("no FHIR server is configured"))
    key = signature.assessment_key
    state, reference = parts.store.report_state(key)
    if state is ReportState.PENDING:
        write_report(parts, key)
        state, reference = parts.store.report_state(key)
    assessment = parts.store.get(key)
    if assessment is None or state is not ReportState.WRITTEN or reference is None:
        return Failed(message("the report that it belongs to is not on the FHIR server yet"))
    deadline = Deadline(3 * parts.settings.read_timeout_s)
    if not write_signature(assessment, signature, reference, parts.fhir, deadline, parts.words):
        _log.info("the report carried the signature already")
    return None
