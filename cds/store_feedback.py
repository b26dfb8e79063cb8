"""The cards that were sent and the feedback on them, in the assessment store."""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import cached_property
from typing import Any

import msgspec
from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    Row,
    Select,
    and_,
    bindparam,
    delete,
    func,
    literal_column,
    or_,
    select,
    tuple_,
    update,
)

from cds.feedback import Action, Feedback, FeedbackLine, FeedbackSummary, Outcome, Reason, Receipt, ShownCard
from cds.store_engine import HASTE_S, insert_or_ignore, reading, writing, writing_in_haste
from cds.store_quick import Quick, QuickInsert
from cds.store_schema import accepted_suggestions, cards, feedback
from fhir_profiles.codes import OVERRIDE_REASON

_GROUP = (cards.c.topic, cards.c.pattern, cards.c.model_name, cards.c.model_version)
_SHOWING = and_(cards.c.uuid == feedback.c.card, cards.c.hook_instance == feedback.c.hook_instance)
_OTHER_SYSTEM = "other"


class FeedbackRows:
    """The part of `cds.store.SqlAssessmentStore` that is about cards and feedback."""

    _engine: Engine
    _clock: Callable[[], datetime]

    @cached_property
    def _insert_cards(self) -> QuickInsert:
        return QuickInsert(self._engine, cards, HASTE_S)

    @cached_property
    def _has_feedback(self) -> Quick:
        known = feedback.c.card == bindparam("card")
        return Quick(self._engine, select(feedback.c.outcome).where(known).limit(literal_column("1")))

    def remember_cards(self, shown: Sequence[ShownCard]) -> None:
        """Store the cards of one answer, each once for its hookInstance, in haste: an EHR waits for the answer.

        Where an EHR uses a hookInstance again, the suggestions of both answers are kept: either may be accepted.
        """
        if not shown:
            return
        rows = [_card_row(card) for card in sorted(shown, key=lambda card: card.uuid)]
        new = self._insert_cards.insert(rows)
        if not all(new):
            self._add_suggestions([row for row, is_new in zip(rows, new, strict=True) if not is_new])

    def _add_suggestions(self, rows: Sequence[Mapping[str, Any]]) -> None:
        with writing_in_haste(self._engine) as connection:
            for row in rows:
                this = (cards.c.uuid == row["uuid"], cards.c.hook_instance == row["hook_instance"])
                known = connection.scalar(select(cards.c.suggestions).where(*this).with_for_update())
                offered = json.loads(known) if known is not None else {}
                if json.loads(row["suggestions"]).keys() - offered.keys():
                    both = _suggestions({**offered, **json.loads(row["suggestions"])})
                    connection.execute(update(cards).where(*this).values(suggestions=both))

    def actions(
        self, card_uuids: Sequence[str], issuer: str | None = None
    ) -> Mapping[str, tuple[Action, ...]]:
        """What was done about each of those cards, the earliest first; cards without feedback are left out.

        issuer: what other clients said is left out: whoever can work out a card's uuid could hide it from its user.
        """
        if not any(self._has_feedback.rows(card=uuid) for uuid in card_uuids):
            return {}
        f = feedback.c
        query = (
            select(f.card, f.outcome, f.outcome_at, f.received_at, f.reason_system, f.reason_code)
            .where(f.card.in_(card_uuids))
            .order_by(f.outcome_at)
        )
        if issuer is not None:
            query = query.where(or_(f.issuer.is_(None), f.issuer == issuer))
        found: dict[str, tuple[Action, ...]] = {}
        with reading(self._engine) as connection:
            for card, *action in connection.execute(query).all():
                found[card] = (*found.get(card, ()), _action(*action))
        return found

    def take_feedback(self, service: str, items: Sequence[Feedback], issuer: str | None = None) -> Receipt:
        """Store all items or, where the store fails, none.

        Same card, outcome and time are the same action, however often it is told: stored once; what a later telling
        adds (a suggestion, a reason, a comment) is added, what it repeats changes nothing. issuer: of the client that
        says so; nothing is added to what another client said.
        """
        if not items:
            return Receipt(stored=0, repeated=0, unknown_cards=0, unknown_suggestions=0)
        stored = unknown_cards = unknown_suggestions = 0
        now = self._clock()
        with writing(self._engine) as connection:
            known = _showings(connection, {item.card for item in items})
            # In one order, so that two calls with the same items cannot wait for each other.
            for item in sorted(items, key=lambda item: (item.card, item.outcome, item.at)):
                hook_instance, offered = known.get(item.card, (None, {}))
                unknown_cards += hook_instance is None
                if hook_instance is not None:
                    unknown_suggestions += sum(s not in offered for s in item.suggestions)
                stored += self._take(connection, item, (service, issuer), hook_instance, offered, now)
        return Receipt(
            stored=stored,
            repeated=len(items) - stored,
            unknown_cards=unknown_cards,
            unknown_suggestions=unknown_suggestions,
        )

    def feedback_summary(self, since: datetime | None = None) -> FeedbackSummary:
        """What became of the cards shown since then (None: ever), by topic, pattern and model version."""
        shown, heard = _from(cards.c.shown_at, since), _from(feedback.c.received_at, since)
        cases = func.count(func.distinct(feedback.c.card))
        joined = cards.join(feedback, _SHOWING)

        def acted(*by: ColumnElement[Any]) -> Select[Any]:
            grouped = (*_GROUP, *by)
            return select(*grouped, cases).select_from(joined).where(*shown, *heard).group_by(*grouped)

        overridden = feedback.c.outcome == Outcome.OVERRIDDEN.value
        with reading(self._engine) as connection:
            lines = connection.execute(
                select(*_GROUP, func.count(func.distinct(cards.c.uuid)), func.count())
                .where(*shown)
                .group_by(*_GROUP)
            ).all()
            outcomes = connection.execute(acted(feedback.c.outcome)).all()
            reasons = connection.execute(
                acted(feedback.c.reason_system, feedback.c.reason_code).where(overridden)
            ).all()
            unknown_cards = connection.scalar(
                select(func.count()).where(feedback.c.hook_instance.is_(None), *heard)
            )
            taken = accepted_suggestions.c
            of_known = select(feedback.c.card).where(feedback.c.hook_instance.is_not(None))
            unknown_suggestions = connection.scalar(
                select(func.count()).where(
                    taken.order_code.is_(None), taken.card.in_(of_known), *_from(taken.received_at, since)
                )
            )
        return FeedbackSummary(
            since=since,
            lines=tuple(sorted((_line(row, outcomes, reasons) for row in lines), key=_order)),
            unknown_cards=unknown_cards or 0,
            unknown_suggestions=unknown_suggestions or 0,
        )

    def purge_cards(self, before: datetime, limit: int) -> int:
        """Delete cards shown before then on which there is no feedback, the oldest first; how many went."""
        c = cards.c
        old = (
            select(c.uuid, c.hook_instance)
            .where(c.shown_at < before, c.uuid.not_in(select(feedback.c.card)))
            .order_by(c.shown_at)
            .limit(limit)
        )
        with writing(self._engine) as connection:
            gone = delete(cards).where(tuple_(c.uuid, c.hook_instance).in_(old))
            return connection.execute(gone).rowcount

    def _take(
        self,
        connection: Connection,
        item: Feedback,
        said_by: tuple[str, str | None],
        hook_instance: str | None,
        offered: Mapping[str, str],
        now: datetime,
    ) -> bool:
        """True where the action was not known yet."""
        service, issuer = said_by
        same = {"card": item.card, "outcome": item.outcome.value, "outcome_at": item.at}
        because = {
            "reason_system": item.reason.system if item.reason else None,
            "reason_code": item.reason.code if item.reason else None,
            "reason_display": item.reason.display if item.reason else None,
        }
        row = {
            **same,
            **because,
            "hook_instance": hook_instance,
            "service": service,
            "received_at": now,
            "user_comment": item.comment,
            "issuer": issuer,
        }
        new = connection.execute(insert_or_ignore(self._engine, feedback, row)).rowcount == 1
        if not new:
            theirs = *(feedback.c[name] == value for name, value in same.items()), feedback.c.issuer == issuer
            if connection.scalar(select(func.count()).where(*theirs)) == 0:
                return False
            before = update(feedback).where(*theirs)
            if item.reason:
                connection.execute(before.where(feedback.c.reason_code.is_(None)).values(because))
            if item.comment:
                without = before.where(feedback.c.user_comment.is_(None))
                connection.execute(without.values(user_comment=item.comment))
        if item.suggestions:
            rows = [
                {
                    "card": item.card,
                    "outcome_at": item.at,
                    "suggestion": suggestion,
                    "order_code": offered.get(suggestion),
                    "received_at": now,
                }
                for suggestion in sorted(item.suggestions)
            ]
            connection.execute(insert_or_ignore(self._engine, accepted_suggestions), rows)
        return new


def _showings(connection: Connection, uuids: set[str]) -> Mapping[str, tuple[str, dict[str, str]]]:
    """For each of those cards that was sent: its newest hookInstance, and all suggestions that it ever had.

    The same card may be shown with fewer suggestions once some of them are ordered.
    """
    columns = (cards.c.uuid, cards.c.hook_instance, cards.c.suggestions)
    query = select(*columns).where(cards.c.uuid.in_(sorted(uuids))).order_by(cards.c.shown_at)
    found: dict[str, tuple[str, dict[str, str]]] = {}
    for row in connection.execute(query):
        _, offered = found.get(row.uuid, ("", {}))
        found[row.uuid] = (row.hook_instance, {**offered, **json.loads(row.suggestions)})
    return found


def _card_row(card: ShownCard) -> dict[str, Any]:
    return {
        "uuid": card.uuid,
        "hook_instance": card.hook_instance,
        "card_key": card.key,
        "fingerprint": card.fingerprint,
        "service": card.service,
        "hook": card.hook,
        "user_reference": card.user,
        "fhir_server": card.fhir_server,
        "subject_key": card.subject_key,
        "topic": card.topic,
        "indicator": card.indicator,
        "pattern": card.pattern,
        "model_name": card.model.name,
        "model_version": card.model.version,
        "model_digest": card.model.digest,
        "shown_at": card.shown_at,
        "suggestions": _suggestions(card.suggestions),
    }


def _suggestions(offered: Mapping[str, str]) -> str:
    return msgspec.json.encode(offered).decode()


def _action(
    outcome: str, at: datetime, received_at: datetime, reason_system: str | None, reason_code: str | None
) -> Action:
    return Action(
        outcome=Outcome(outcome),
        # A client whose clock runs ahead must not put a card off for longer.
        at=min(at, received_at),
        reason=Reason(system=reason_system, code=reason_code) if reason_system and reason_code else None,
    )


def _from(column: ColumnElement[datetime], since: datetime | None) -> tuple[ColumnElement[bool], ...]:
    return () if since is None else (column >= since,)


def _line(shown: Row[Any], outcomes: Sequence[Row[Any]], reasons: Sequence[Row[Any]]) -> FeedbackLine:
    values: tuple[Any, ...] = tuple(shown)
    topic, pattern, model_name, model_version, shown_cards, showings = values
    group, width = [topic, pattern, model_name, model_version], len(_GROUP)
    acted = {row[width]: row[-1] for row in outcomes if list(row[:width]) == group}
    because: dict[str, int] = {}
    for row in reasons:
        if list(row[:width]) == group:
            system, code, count = row[width:]
            name = "" if code is None else code if system == OVERRIDE_REASON else _OTHER_SYSTEM
            because[name] = because.get(name, 0) + count
    return FeedbackLine(
        topic=topic,
        pattern=pattern,
        model_name=model_name,
        model_version=model_version,
        cards=shown_cards,
        showings=showings,
        accepted=acted.get(Outcome.ACCEPTED.value, 0),
        overridden=acted.get(Outcome.OVERRIDDEN.value, 0),
        reasons=because,
    )


def _order(line: FeedbackLine) -> tuple[str, ...]:
    """Findings first, by pattern; then what says how far a smear is."""
    return (
        "" if line.pattern else line.topic,
        line.pattern or "",
        line.model_name,
        line.model_version,
    )
