import sqlite3
import time
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from cds.errors import StoreError
from cds.feedback import Action, Outcome, Reason, Receipt
from cds.store import SqlAssessmentStore
from cds.store_engine import open_engine, writing, writing_in_haste
from tests.fakes.assessments import MODEL
from tests.fakes.feedback import (
    KNOWN,
    LATER,
    SHOWN_AT,
    SUGGESTION,
    accepted,
    card_uuid,
    overridden,
    shown,
)

SERVICE = "leukemia-smear"
HOUR = timedelta(hours=1)


@pytest.fixture
def store(tmp_path):
    with closing(SqlAssessmentStore(f"sqlite:///{tmp_path}/store.db", clock=lambda: SHOWN_AT + HOUR)) as made:
        made.migrate()
        yield made


def take(store, *items):
    return store.take_feedback(SERVICE, items)


def rows(tmp_path, query):
    with closing(sqlite3.connect(tmp_path / "store.db")) as raw:
        return raw.execute(query).fetchall()


def test_what_another_client_says_hides_no_card_and_changes_nothing(store):
    store.remember_cards([shown()])
    foreign, own = "https://other.example/", "https://ehr.example/"
    assert store.take_feedback(SERVICE, [overridden()], foreign).stored == 1
    assert store.actions([card_uuid(1)], own) == {}
    assert len(store.actions([card_uuid(1)], foreign)[card_uuid(1)]) == 1
    again = store.take_feedback(SERVICE, [accepted(1, "s-1")], own)
    assert again.stored == 1
    assert [a.outcome for a in store.actions([card_uuid(1)], own)[card_uuid(1)]] == [Outcome.ACCEPTED]
    assert len(store.actions([card_uuid(1)])[card_uuid(1)]) == 2


def test_nothing_is_added_to_what_another_client_said(store, tmp_path):
    store.remember_cards([shown()])
    store.take_feedback(SERVICE, [accepted(1)], "https://ehr.example/")
    assert store.take_feedback(SERVICE, [accepted(1, "s-1")], "https://other.example/").repeated == 1
    assert ("s-1",) not in rows(tmp_path, "SELECT suggestion FROM accepted_suggestions")


def test_a_card_is_remembered_with_all_that_its_feedback_is_joined_to(store, tmp_path):
    store.remember_cards([shown(subject_key="a" * 36, fhir_server="https://ehr.example/fhir")])
    ((*row,),) = rows(
        tmp_path,
        "SELECT uuid, card_key, service, hook, user_reference, fhir_server, subject_key, topic, pattern, model_name, "
        "model_version, model_digest, suggestions FROM cards",
    )
    assert row == [
        card_uuid(1),
        "33333333-3333-5333-8333-333333333333",
        SERVICE,
        "patient-view",
        "Practitioner/d-1",
        "https://ehr.example/fhir",
        "a" * 36,
        "smear-result",
        "AML",
        "cells",
        "1.2.3",
        "ab" * 32,
        f'{{"{SUGGESTION}":"flow-cytometry"}}',
    ]


def test_a_repeated_hook_instance_is_one_showing_and_another_is_another(store, tmp_path):
    store.remember_cards([])
    for hook_instance in ("a", "a", "b"):
        store.remember_cards([shown(1, hook_instance=hook_instance), shown(2, hook_instance=hook_instance)])
    assert len(rows(tmp_path, "SELECT * FROM cards")) == 4
    (line,) = store.feedback_summary().lines
    assert (line.cards, line.showings) == (2, 4)


def test_the_same_action_twice_is_stored_once(store):
    store.remember_cards([shown()])
    once = accepted()
    assert take(store, once, once) == Receipt(stored=1, repeated=1, unknown_cards=0, unknown_suggestions=0)
    assert take(store, once) == Receipt(stored=0, repeated=1, unknown_cards=0, unknown_suggestions=0)
    assert take(store) == Receipt(stored=0, repeated=0, unknown_cards=0, unknown_suggestions=0)
    assert store.actions([card_uuid(9), card_uuid(1)]) == {
        card_uuid(1): (Action(outcome=Outcome.ACCEPTED, at=SHOWN_AT),)
    }


def test_another_outcome_or_time_is_another_action(store):
    items = [overridden(), overridden(at=SHOWN_AT + timedelta(seconds=1)), accepted()]
    assert take(store, *items).stored == 3
    assert len(store.actions([card_uuid(1)])[card_uuid(1)]) == 3


def test_what_a_later_telling_adds_is_added_and_nothing_is_overwritten(store, tmp_path):
    store.remember_cards([shown(suggestions={"s-1": "flow-cytometry", "s-2": "pml-rara"})])
    take(store, accepted(1, "s-1"), accepted(1, "s-2"), overridden())
    take(store, overridden(reason=KNOWN, comment="seen"), overridden(reason=LATER, comment="other"))
    assert rows(tmp_path, "SELECT suggestion, order_code FROM accepted_suggestions ORDER BY 1") == [
        ("s-1", "flow-cytometry"),
        ("s-2", "pml-rara"),
    ]
    query = "SELECT reason_code, user_comment FROM feedback WHERE outcome = 'overridden'"
    assert rows(tmp_path, query) == [("already-known", "seen")]


def test_a_card_never_sent_and_a_suggestion_of_another_card_are_stored_and_counted(store, tmp_path):
    store.remember_cards([shown(1)])
    receipt = take(store, accepted(1, SUGGESTION, "stranger"), accepted(2), overridden(3))
    assert receipt == Receipt(stored=3, repeated=0, unknown_cards=2, unknown_suggestions=1)
    assert len(rows(tmp_path, "SELECT * FROM feedback")) == 3
    summary = store.feedback_summary()
    assert (summary.unknown_cards, summary.unknown_suggestions) == (2, 1)
    assert [line.accepted for line in summary.lines] == [1]


def test_a_suggestion_counts_as_the_cards_though_a_later_showing_lacks_it(store):
    store.remember_cards([shown(1)])
    store.remember_cards([shown(1, hook_instance="later", shown_at=SHOWN_AT + HOUR, suggestions={})])
    assert take(store, accepted(1, SUGGESTION)).unknown_suggestions == 0


def test_actions_come_in_their_order_and_never_from_the_future(store):
    early, late = overridden(reason=KNOWN), overridden(at=SHOWN_AT + 99 * HOUR, reason=LATER)
    take(store, late, early)
    first, last = store.actions([card_uuid(1)])[card_uuid(1)]
    assert (first.at, first.reason) == (SHOWN_AT, Reason(system=KNOWN.system, code=KNOWN.code))
    assert last.at == SHOWN_AT + HOUR
    assert store.actions([]) == {}


def test_the_summary_counts_cards_by_pattern_and_model(store):
    newer = replace(MODEL, version="2.0.0", digest="cd" * 32)
    queued = shown(5, topic="smear-queued", pattern=None)
    store.remember_cards([shown(1), shown(2), shown(3, model=newer), shown(4, pattern="CLL"), queued])
    foreign = Reason(system="https://ehr.example/reasons", code="already-known")
    take(
        store,
        accepted(1),
        overridden(1, reason=KNOWN),
        overridden(1, at=SHOWN_AT + HOUR, reason=KNOWN),
        overridden(2, reason=foreign),
        overridden(3),
    )
    lines = store.feedback_summary().lines
    assert [(line.topic, line.pattern, line.model_version, line.cards) for line in lines] == [
        ("smear-result", "AML", "1.2.3", 2),
        ("smear-result", "AML", "2.0.0", 1),
        ("smear-result", "CLL", "1.2.3", 1),
        ("smear-queued", None, "1.2.3", 1),
    ]
    assert [(line.accepted, line.overridden, dict(line.reasons)) for line in lines] == [
        (1, 2, {"already-known": 1, "other": 1}),
        (0, 1, {"": 1}),
        (0, 0, {}),
        (0, 0, {}),
    ]


def test_the_summary_since_a_date_leaves_out_cards_shown_before(store):
    store.remember_cards([shown(1), shown(2, shown_at=SHOWN_AT - 48 * HOUR)])
    take(store, accepted(1), accepted(2), accepted(9))
    summary = store.feedback_summary(SHOWN_AT - HOUR)
    assert [(line.cards, line.accepted) for line in summary.lines] == [(1, 1)]
    assert summary.unknown_cards == 1
    assert store.feedback_summary(datetime(2030, 1, 1, tzinfo=UTC)).lines == ()
    assert store.feedback_summary(datetime(2030, 1, 1, tzinfo=UTC)).unknown_cards == 0


def test_a_call_is_stored_whole_or_not_at_all(store, tmp_path):
    with closing(sqlite3.connect(tmp_path / "store.db")) as raw:
        raw.execute("DROP TABLE accepted_suggestions")
        raw.commit()
    with pytest.raises(StoreError):
        take(store, overridden(1), accepted(2))
    assert rows(tmp_path, "SELECT * FROM feedback") == []


def test_remembering_cards_waits_little_for_other_writers(store, tmp_path):
    store.remember_cards([shown()])
    with closing(sqlite3.connect(tmp_path / "store.db", isolation_level=None)) as raw:
        raw.execute("BEGIN IMMEDIATE")
        began = time.monotonic()
        with pytest.raises(StoreError, match="locked"):
            store.remember_cards([shown(2)])
        assert time.monotonic() - began < 5  # others wait for 10 s
        raw.execute("ROLLBACK")
    store.remember_cards([shown(2)])


def test_only_a_write_in_haste_does_not_wait_for_the_disk(tmp_path):
    engine = open_engine(f"sqlite:///{tmp_path}/store.db")
    found = []
    for write in (writing, writing_in_haste, writing, writing_in_haste):
        with write(engine) as connection:
            found.append(connection.exec_driver_sql("PRAGMA synchronous").scalar())
    engine.dispose()
    assert found == [2, 1, 2, 1]  # FULL, NORMAL


def test_comments_and_users_stay_out_of_what_values_print():
    card, item = shown(), overridden(comment="Mr Smith")
    assert "Practitioner" not in repr(card)
    assert "Smith" not in repr(item)


def test_a_hook_instance_used_again_keeps_the_suggestions_of_both_answers(store, tmp_path):
    store.remember_cards([shown(suggestions={"s-1": "flow-cytometry"})])
    store.remember_cards([shown(suggestions={"s-2": "bcr-abl1"}), shown(2)])
    assert rows(tmp_path, "SELECT COUNT(*) FROM cards") == [(2,)]
    receipt = take(store, accepted(1, "s-1", "s-2"), accepted(1, "s-3", at=SHOWN_AT + HOUR))
    assert (receipt.stored, receipt.unknown_suggestions) == (2, 1)


def test_old_cards_go_the_oldest_first_and_never_those_with_feedback(store, tmp_path):
    for number in range(1, 6):
        store.remember_cards([shown(number, shown_at=SHOWN_AT + number * HOUR)])
    store.remember_cards([shown(2, hook_instance="other", shown_at=SHOWN_AT)])
    take(store, overridden(2), overridden(77))
    assert store.purge_cards(SHOWN_AT + 4 * HOUR, 1) == 1
    assert store.purge_cards(SHOWN_AT + 4 * HOUR, 100) == 1
    assert store.purge_cards(SHOWN_AT + 4 * HOUR, 100) == 0
    left = rows(tmp_path, "SELECT uuid, hook_instance FROM cards ORDER BY uuid, hook_instance")
    assert [uuid for uuid, _ in left] == [card_uuid(2), card_uuid(2), card_uuid(4), card_uuid(5)]
