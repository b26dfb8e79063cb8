"""The review as data: small JSON calls of the study page's scripts. The server decides what a change makes of it.

Each call says which version of the review its author saw; the answer is the review as it is now, with the parts of the
page that follow from it. A version that is not the last one is answered by 409, and nothing is stored.
"""

import hmac
from typing import Any, TypeVar
from zlib import crc32

import structlog
from flask import Flask, Response, jsonify, render_template, request
from pydantic import BaseModel, ConfigDict, StrictInt, StrictStr, ValidationError

from cds.errors import BadRequest, LeukoError, NotAllowed
from cds.language import message
from cds.report_text import cell_name
from cds.review import (
    MAX_TEXT,
    Change,
    ChangeKind,
    Review,
    Signature,
    SignatureState,
    SignedState,
    Verdict,
    retyped,
)
from cds.values import Assessment, Finding, utc_now
from hooks.context import Context
from hooks.languages import page_words
from hooks.patient_name import patient_name
from hooks.picture_routes import opened, seen
from hooks.study_page import parts
from hooks.study_view import UNSURE_BELOW, assignable, cells_of, reviewed, told
from hooks.study_words import EXCLUDED
from hooks.visitors import Visitor, visitor_for

_log = structlog.get_logger(__name__)

_BY_HAND = {k.value for k in ChangeKind} - {ChangeKind.UNDO.value, ChangeKind.SIGN.value}
_FRAGMENTS = ("verdict", "differential", "signing", "history")


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")
    version: StrictInt


_Given = TypeVar("_Given", bound=_Body)


class _Change(_Body):
    kind: StrictStr
    cells: list[StrictInt] = []
    value: StrictStr = ""


def review_routes(app: Flask, context: Context) -> None:
    store = context.store

    @app.get("/api/studies/<uuid:key>/review")
    def review(key: Any) -> Response:
        assessment, visitor = opened(context, str(key), look=False)
        since = request.args.get("since", type=int)
        held = store.review(assessment.key)
        signed = store.signed(assessment.key)
        as_seen = request.args.get("signed") == _as_told(signed)
        if since == held.version and as_seen:
            return jsonify(version=held.version)
        visitor_for(assessment.study.patient)  # there is something new: that is a look
        return _state(assessment, held, visitor, since)

    @app.post("/api/studies/<uuid:key>/changes")
    def change(key: Any) -> Response:
        assessment, visitor = _reviewer(context, str(key))
        body = _parsed(_Change)
        _check(assessment, body)
        made = _change(
            visitor, body.version, ChangeKind(body.kind), cells=tuple(body.cells), value=body.value
        )
        return _state(assessment, store.add_change(assessment.key, made), visitor)

    @app.post("/api/studies/<uuid:key>/undo")
    def undo(key: Any) -> Response:
        """The visitor's own last change since the last signature."""
        assessment, visitor = _reviewer(context, str(key))
        body = _parsed(_Body)
        last = store.review(assessment.key).undoable(visitor.user)
        if last is None:
            raise BadRequest(message("There is no change of yours to undo."))
        made = _change(visitor, body.version, ChangeKind.UNDO, undoes=last.number)
        return _state(assessment, store.add_change(assessment.key, made), visitor)

    @app.post("/api/studies/<uuid:key>/signature")
    def sign(key: Any) -> Response:
        """Sign the review as it is in that version."""
        assessment, visitor = _reviewer(context, str(key))
        body = _parsed(_Body)
        held = store.review(assessment.key)
        made = _change(visitor, body.version, ChangeKind.SIGN)
        signature = _signature(assessment, held, made, context)
        to_server = context.pages.fhir is not None and assessment.study.patient is not None
        state = SignatureState.PENDING if to_server else SignatureState.NOT_CONFIGURED
        signed = store.sign(made, signature, state)
        _log.info("reading signed", assessment=assessment.key, verdict=signature.verdict.value)
        if to_server:
            try:
                context.pages.submit_signature(assessment.key)
            except LeukoError as error:
                _log.warning("signature not sent to the queue; the sweeper will", reason=str(error))
        return _state(assessment, signed, visitor)

    @app.get("/api/studies/<uuid:key>/patient")
    def patient(key: Any) -> Response:
        """Whose smear it is, in words, as the FHIR server has it."""
        assessment = seen(context, str(key))
        known = patient_name(context, assessment)
        return jsonify(name=known.name, birth_date=known.birth_date, soon=known.soon)

    def _state(assessment: Assessment, held: Review, visitor: Visitor, since: int | None = None) -> Response:
        view = parts(assessment, held, visitor, context)
        labels = held.labels
        say = page_words().text
        return jsonify(
            version=held.version,
            cells={
                position: {
                    "type": c.value if c.kind is ChangeKind.RECLASSIFY else "",
                    "name": say(cell_name(c.value) if c.kind is ChangeKind.RECLASSIFY else EXCLUDED),
                    "by": c.name,
                }
                for position, c in labels.items()
            },
            comments={
                position: [{"by": c.name, "text": c.value} for c in said] for position, said in held.comments.items()
            },
            unsure_below=UNSURE_BELOW,
            undoable=held.undoable(visitor.user) is not None,
            signed=_as_told(view["signed"]),
            notice=say(view["notice"]),
            html={name: render_template(f"study/{name}.html", **view) for name in _FRAGMENTS},
            news=[
                {"by": c.name, "text": say(told(c, held))}
                for c in (held.since(since) if since is not None else ())
                if c.user != visitor.user
            ],
        )  # fmt: skip


def _as_told(signed: SignedState | None) -> str:
    """What the page says of the signature, in short: how far it is, and a sign of why it is not further."""
    if signed is None:
        return ""
    return signed.state.value + (f" {crc32(str(signed.problem).encode()):08x}" if signed.problem else "")


def _reviewer(context: Context, key: str) -> tuple[Assessment, Visitor]:
    """Raises NotAllowed unless the visitor may review and the request comes from a page of ours."""
    assessment, visitor = opened(context, key)
    if not visitor.may_review:
        raise NotAllowed(message("You may look at this study, but not review it."))
    sent = request.headers.get("X-CSRF-Token", "")
    if not hmac.compare_digest(sent.encode("utf-8", "replace"), visitor.csrf_token.encode()):
        raise NotAllowed(message("The page is out of date: reload it, then try again."))
    return assessment, visitor


def _parsed(kind: type[_Given]) -> _Given:
    if request.mimetype != "application/json":
        raise BadRequest("The Content-Type must be application/json.")
    try:
        return kind.model_validate_json(request.get_data())
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "body"
        raise BadRequest(f"{where}: {first['msg']}") from None


def _check(assessment: Assessment, body: _Change) -> None:
    if body.kind not in _BY_HAND:
        raise BadRequest(f"kind: one of {', '.join(sorted(_BY_HAND))}")
    if any(not 0 <= position < len(cells_of(assessment)) for position in body.cells):
        raise BadRequest("cells: this reading has no such cell")
    if body.kind == ChangeKind.RECLASSIFY.value and body.value not in assignable(assessment):
        raise BadRequest("value: no such cell type")
    if len(body.value) > MAX_TEXT:
        raise BadRequest(message("value: more than {most} characters", most=MAX_TEXT))


def _change(visitor: Visitor, version: int, kind: ChangeKind, **more: Any) -> Change:
    try:
        return Change(
            number=version + 1, at=utc_now(), user=visitor.user, name=visitor.name, kind=kind, **more
        )
    except ValueError as error:
        raise BadRequest(str(error)) from None


def _signature(assessment: Assessment, held: Review, made: Change, context: Context) -> Signature:
    """What is signed: the review in the version before `made`. Raises BadRequest where the verdict does not fit it."""
    verdict = held.verdict
    if verdict is None:
        raise BadRequest(message("Say first whether you agree with the reading, amend it or reject it."))
    outcome = assessment.outcome
    finding = isinstance(outcome, Finding)
    now = reviewed(assessment, held, context.pages.pattern_model) if finding else None
    own = now.outcome.pattern if now and isinstance(now.outcome, Finding) else None
    conclusion = held.conclusion or own
    changed, excluded = retyped(cells_of(assessment), held)
    differs = (
        changed or excluded or (conclusion is not None and conclusion != getattr(outcome, "pattern", None))
    )
    if verdict is Verdict.AGREE and differs:
        raise BadRequest(
            message(
                "Agreeing is for a reading that nothing was changed in: the corrected cells or your conclusion differ "
                "from the machine's. Choose amend, or undo the changes."
            )
        )
    if verdict is Verdict.REJECT and not held.remark.strip():
        raise BadRequest(message("A rejected reading needs a remark that says why."))
    seen_finding = now.outcome if now and isinstance(now.outcome, Finding) else None
    return Signature(
        assessment_key=assessment.key,
        number=made.number,
        signed_at=made.at,
        user=made.user,
        name=made.name,
        verdict=verdict,
        conclusion=None if verdict is Verdict.REJECT else conclusion,
        remark=held.remark.strip(),
        differential=now.differential if now else None,
        evidence=seen_finding.evidence if seen_finding else (),
        possible_apl=bool(seen_finding and seen_finding.possible_apl),
        retyped=changed,
        excluded=excluded,
    )
