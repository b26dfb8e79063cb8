from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import text

from cds.errors import ReviewChanged, StoreError, UnknownService
from cds.language import message
from cds.review import Change, ChangeKind, Signature, SignatureState, Verdict
from cds.store import SqlAssessmentStore
from cds.values import Differential, Pattern, ReportState
from tests.fakes.assessments import READ_AT, assessment, finding, not_analysed

BY = {"user": "Practitioner/1", "name": "Dr. Hem", "at": READ_AT}


class Clock:
    now = READ_AT

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def store(tmp_path, clock):
    store = SqlAssessmentStore(f"sqlite:///{tmp_path}/store.db", clock=clock)
    store.migrate()
    yield store
    store.close()


@pytest.fixture
def made(store):
    made = assessment(outcome=finding(5))
    store.save(made, ReportState.PENDING)
    return made


def typed(number, *cells, value="monocyte"):
    return Change(number=number, kind=ChangeKind.RECLASSIFY, cells=cells, value=value, **BY)


def signature(made, number, **more):
    values = {"verdict": Verdict.AMEND, "conclusion": Pattern.AML, **more}
    return Signature(
        assessment_key=made.key, number=number, signed_at=READ_AT, user="Practitioner/1", name="Dr. Hem", **values
    )  # fmt: skip


def sign(store, made, number, state=SignatureState.PENDING, **more):
    return store.sign(
        Change(number=number, kind=ChangeKind.SIGN, **BY), signature(made, number, **more), state
    )


def test_changes_come_back_as_they_were_given(store, made):
    changes = (
        typed(1, 0, 3),
        Change(number=2, kind=ChangeKind.COMMENT, cells=(1,), value="Größe <b>", **BY),
        Change(number=3, kind=ChangeKind.UNDO, undoes=1, **BY),
    )
    for change in changes:
        review = store.add_change(made.key, change)
    assert review.changes == store.review(made.key).changes == changes
    assert store.review("another").changes == ()


@pytest.mark.parametrize("number", [1, 3])
def test_a_number_that_is_taken_or_skips_one_is_refused_and_nothing_stored(store, made, number):
    store.add_change(made.key, typed(1, 0))
    with pytest.raises(ReviewChanged):
        store.add_change(made.key, typed(number, 1))
    assert store.review(made.key).version == 1
    with pytest.raises(ReviewChanged):
        sign(store, made, number)
    assert store.signed(made.key) is None


def test_a_change_of_no_reading_is_refused(store):
    with pytest.raises(UnknownService):
        store.add_change("nothing", typed(1, 0))


def test_a_signature_comes_back_whole_and_replaces_one_that_waits(store, made):
    sign(store, made, 1)
    more = {
        "differential": Differential({"myeloblast": 3}, {"smudge_cell": 1}),
        "evidence": ("Blasts.",),
        "possible_apl": True,
        "remark": "Auer rods",
        "retyped": 2,
        "excluded": 1,
    }
    sign(store, made, 2, **more)
    held = store.signed(made.key)
    assert held is not None
    assert (held.signature, held.state) == (signature(made, 2, **more), SignatureState.PENDING)
    assert store.unwritten_signatures(9) == [made.key], "the one before it is never sent"
    store.signature_written(made.key, 2)
    assert store.unwritten_signatures(9) == []


def test_one_that_failed_waits_and_is_named_again_until_it_is_written(store, made, clock):
    sign(store, made, 1)
    assert store.take_unwritten_signature(made.key, 60)
    assert not store.take_unwritten_signature(made.key, 60), "another sweeper has it"
    out = message("the FHIR server took the report and does not find it")
    store.signature_failed(made.key, 1, out, lambda failures: 100.0 * failures)
    held = store.signed(made.key)
    assert held is not None
    assert (held.state, held.problem) == (SignatureState.PENDING, out)
    clock.now += timedelta(seconds=99)
    assert store.unwritten_signatures(9) == []
    clock.now += timedelta(seconds=2)
    assert store.unwritten_signatures(9) == [made.key]
    store.signature_failed(made.key, 1, "still out", lambda failures: 100.0 * failures)
    clock.now += timedelta(seconds=150)
    assert store.unwritten_signatures(9) == [], "the second pause is longer"
    clock.now += timedelta(seconds=60)
    assert store.take_unwritten_signature(made.key, 60)
    store.signature_written(made.key, 1)
    held = store.signed(made.key)
    assert held is not None
    assert (held.state, held.problem) == (SignatureState.WRITTEN, None)


def test_labelled_cells_are_what_a_signature_covers(store, made):
    unread = assessment(2, outcome=not_analysed())
    store.save(unread, ReportState.PENDING)
    store.add_change(unread.key, Change(number=1, kind=ChangeKind.DECIDE, value="agree", **BY))
    store.add_change(made.key, typed(1, 0, 1))
    assert list(store.labelled_cells()) == []
    store.add_change(made.key, Change(number=2, kind=ChangeKind.EXCLUDE, cells=(2,), **BY))
    sign(store, made, 3)
    store.add_change(made.key, typed(4, 1, 4, value="basophil"))
    assert [(c.position, c.label, c.signed) for c in store.labelled_cells()] == [
        (0, "monocyte", True),
        (1, "monocyte", True),
        (2, None, True),
    ]
    everything = [(c.position, c.label, c.signed) for c in store.labelled_cells(signed_only=False)]
    assert everything == [
        (0, "monocyte", True),
        (1, "basophil", False),
        (2, None, True),
        (4, "basophil", False),
    ]
    first = next(store.labelled_cells())
    assert (first.study_uid, first.cell) == (
        made.study.study_uid,
        replace(made.outcome.cells[0], thumbnail=None),
    )


def test_a_thumbnail_is_found_by_the_cells_place(store, made):
    assert store.thumbnail(made.key, 0) == made.outcome.cells[0].thumbnail
    assert store.thumbnail(made.key, 1) is None
    assert store.thumbnail(made.key, 99) is None


def test_a_stored_review_that_cannot_be_understood_is_an_error(store, made):
    store.add_change(made.key, typed(1, 0))
    with store._engine.begin() as connection:
        connection.execute(text("update review_changes set kind = 'dream'"))
    with pytest.raises(StoreError, match="cannot be understood"):
        store.review(made.key)
