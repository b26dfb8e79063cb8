"""Reviews and signatures in the assessment store. The log is only ever appended to; a number is given once."""

import json
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Engine, Row, func, insert, select, update

from cds.errors import ReviewChanged, StoreError, UnknownService
from cds.language import Text
from cds.review import (
    Change,
    ChangeKind,
    LabelledCell,
    Review,
    Signature,
    SignatureState,
    SignedState,
    Verdict,
)
from cds.store_codec import decode_assessment, decode_text, encode_text, text_from_json, text_to_json
from cds.store_engine import insert_or_ignore, reading, writing
from cds.store_schema import assessments, review_changes, signatures, thumbnails
from cds.values import Differential, Finding, Pattern

_PENDING = SignatureState.PENDING.value


class ReviewRows:
    """The part of `cds.store.SqlAssessmentStore` that is about clinicians' reviews."""

    _engine: Engine
    _clock: Callable[[], datetime]

    def review(self, key: str) -> Review:
        """All changes of that assessment; an empty review where there are none (or no such assessment)."""
        with reading(self._engine) as connection:
            return _review(connection, key)

    def add_change(self, key: str, change: Change) -> Review:
        """Append one change, whose number says which version its author saw; returns the review that it makes.

        Raises ReviewChanged, and stores nothing, when that number is taken or skips one: someone else was faster.
        UnknownService when there is no such assessment.
        """
        with writing(self._engine) as connection:
            self._append(connection, key, change)
            return _review(connection, key)

    def sign(self, change: Change, signature: Signature, state: SignatureState) -> Review:
        """The same for a signature, which takes the place of an earlier one that was not written yet."""
        key = signature.assessment_key
        with writing(self._engine) as connection:
            self._append(connection, key, change)
            connection.execute(
                update(signatures)
                .where(signatures.c.assessment_key == key, signatures.c.state == _PENDING)
                .values(state=SignatureState.SUPERSEDED.value)
            )
            connection.execute(
                insert(signatures).values(
                    assessment_key=key,
                    number=signature.number,
                    signed_at=signature.signed_at,
                    document=_encode(signature),
                    state=state.value,
                    attempts=0,
                    due_at=self._clock(),
                )
            )
            return _review(connection, key)

    def signed(self, key: str) -> SignedState | None:
        """The last signature under that assessment."""
        query = (
            select(signatures)
            .where(signatures.c.assessment_key == key)
            .order_by(signatures.c.number.desc())
            .limit(1)
        )
        with reading(self._engine) as connection:
            row = connection.execute(query).first()
        return None if row is None else _signed(row)

    def unwritten_signatures(self, limit: int) -> list[str]:
        """Keys of the assessments whose signature is pending and whose pause is over, the longest due first."""
        due = (
            select(signatures.c.assessment_key)
            .where(signatures.c.state == _PENDING, signatures.c.due_at <= self._clock())
            .order_by(signatures.c.due_at)
            .limit(limit)
        )
        with reading(self._engine) as connection:
            return list(connection.scalars(due))

    def take_unwritten_signature(self, key: str, pause_s: float) -> bool:
        """True for the one sweeper that may send that signature now; named again after the pause."""
        now = self._clock()
        mine = (
            signatures.c.assessment_key == key,
            signatures.c.state == _PENDING,
            signatures.c.due_at <= now,
        )
        with writing(self._engine) as connection:
            taken = connection.execute(
                update(signatures).where(*mine).values(due_at=now + timedelta(seconds=pause_s))
            )
            return taken.rowcount == 1

    def signature_failed(self, key: str, number: int, problem: Text, pause: Callable[[int], float]) -> None:
        """Note why a signature could not be written; tried again after `pause(failures so far)` seconds."""
        mine = (signatures.c.assessment_key == key, signatures.c.number == number)
        with writing(self._engine) as connection:
            attempts = (connection.scalar(select(signatures.c.attempts).where(*mine)) or 0) + 1
            connection.execute(
                update(signatures)
                .where(*mine, signatures.c.state == _PENDING)
                .values(
                    attempts=attempts,
                    problem=encode_text(problem),
                    due_at=self._clock() + timedelta(seconds=pause(attempts)),
                )
            )

    def signature_written(self, key: str, number: int) -> None:
        with writing(self._engine) as connection:
            connection.execute(
                update(signatures)
                .where(signatures.c.assessment_key == key, signatures.c.number == number)
                .values(state=SignatureState.WRITTEN.value, problem=None)
            )

    def thumbnail(self, key: str, position: int) -> bytes | None:
        """The JPEG that the reader kept of that cell, if it did."""
        query = select(thumbnails.c.jpeg).where(
            thumbnails.c.assessment_key == key, thumbnails.c.position == position
        )
        with reading(self._engine) as connection:
            jpeg = connection.scalar(query)
        return None if jpeg is None else bytes(jpeg)

    def labelled_cells(self, *, signed_only: bool = True) -> Iterator[LabelledCell]:
        """Every cell that a human typed, confirmed or excluded, for training, assessment by assessment.

        signed_only: leave out what no signature covers, and what changed after it.
        """
        with reading(self._engine) as connection:
            keys = connection.scalars(select(review_changes.c.assessment_key).distinct()).all()
        for key in sorted(keys):
            with reading(self._engine) as connection:
                row = connection.execute(
                    select(assessments.c.document, assessments.c.cells).where(assessments.c.key == key)
                ).one()
                review = _review(connection, key)
            assessment = decode_assessment(row.document, row.cells)
            if not isinstance(assessment.outcome, Finding):
                continue
            upto = review.signed.number if review.signed else 0
            covered = Review(tuple(c for c in review.changes if c.number <= upto)).labels
            labels = covered if signed_only else review.labels
            for position, change in sorted(labels.items()):
                yield LabelledCell(
                    assessment_key=key,
                    study_uid=assessment.study.study_uid,
                    model_digest=assessment.model.digest,
                    position=position,
                    cell=assessment.outcome.cells[position],
                    label=change.value if change.kind is ChangeKind.RECLASSIFY else None,
                    user=change.user,
                    at=change.at,
                    signed=covered.get(position) == change,
                )

    def _append(self, connection: Connection, key: str, change: Change) -> None:
        if connection.scalar(select(assessments.c.key).where(assessments.c.key == key)) is None:
            raise UnknownService("There is no reading under this address.")
        held = connection.scalar(
            select(func.max(review_changes.c.number)).where(review_changes.c.assessment_key == key)
        )
        values = {
            "assessment_key": key,
            "number": change.number,
            "at": change.at,
            "user_reference": change.user,
            "user_name": change.name,
            "kind": change.kind.value,
            "cells": json.dumps(change.cells),
            "value": change.value,
            "undoes": change.undoes,
        }
        fits = (held or 0) + 1 == change.number
        if (
            not fits
            or not connection.execute(insert_or_ignore(self._engine, review_changes, values)).rowcount
        ):
            raise ReviewChanged("Someone else changed this review meanwhile; your change was not stored.")


def _review(connection: Connection, key: str) -> Review:
    rows = connection.execute(
        select(review_changes).where(review_changes.c.assessment_key == key).order_by(review_changes.c.number)
    )
    return Review(tuple(map(_change, rows)))


def _change(row: Row[Any]) -> Change:
    try:
        return Change(
            number=row.number,
            at=row.at,
            user=row.user_reference,
            name=row.user_name,
            kind=ChangeKind(row.kind),
            cells=tuple(json.loads(row.cells)),
            value=row.value,
            undoes=row.undoes,
        )
    except (TypeError, ValueError) as error:
        raise StoreError("a stored review cannot be understood") from error


def _encode(signature: Signature) -> str:
    differential = signature.differential
    return json.dumps(
        {
            "user": signature.user,
            "name": signature.name,
            "verdict": signature.verdict.value,
            "conclusion": signature.conclusion.value if signature.conclusion else None,
            "remark": signature.remark,
            "counts": dict(differential.counts) if differential else None,
            "other": dict(differential.other) if differential else None,
            "evidence": list(map(text_to_json, signature.evidence)),
            "possible_apl": signature.possible_apl,
            "retyped": signature.retyped,
            "excluded": signature.excluded,
        }
    )


def _signed(row: Row[Any]) -> SignedState:
    try:
        d = json.loads(row.document)
        signature = Signature(
            assessment_key=row.assessment_key,
            number=row.number,
            signed_at=row.signed_at,
            user=d["user"],
            name=d["name"],
            verdict=Verdict(d["verdict"]),
            conclusion=Pattern(d["conclusion"]) if d["conclusion"] else None,
            remark=d["remark"],
            differential=None if d["counts"] is None else Differential(d["counts"], d["other"]),
            evidence=tuple(map(text_from_json, d["evidence"])),
            possible_apl=d["possible_apl"],
            retyped=d["retyped"],
            excluded=d["excluded"],
        )
        problem = None if row.problem is None else decode_text(row.problem)
        return SignedState(signature=signature, state=SignatureState(row.state), problem=problem)
    except (KeyError, TypeError, ValueError) as error:
        raise StoreError("a stored signature cannot be understood") from error
