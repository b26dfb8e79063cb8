from datetime import datetime
from typing import Any

import pytest

from cds.review import MAX_CELLS, Change, ChangeKind, Review, Signature, Verdict, corrected, retyped
from cds.values import Cell, Pattern
from tests.fakes.assessments import READ_AT

ADA, BEN = "Practitioner/1", "Practitioner/2"
CELLS = tuple(Cell(source="1", row=n, column=0, cell_type="myeloblast", probability=0.6) for n in range(5))


def change(number: int, kind: ChangeKind, *, user: str = ADA, **more: Any) -> Change:
    return Change(number=number, at=READ_AT, user=user, name="Dr. Hem", kind=kind, **more)


def typed(number: int, *cells: int, value: str = "monocyte", user: str = ADA) -> Change:
    return change(number, ChangeKind.RECLASSIFY, cells=cells, value=value, user=user)


def undo(number: int, undoes: int, user: str = ADA) -> Change:
    return change(number, ChangeKind.UNDO, undoes=undoes, user=user)


@pytest.mark.parametrize(
    ("kind", "more"),
    [
        (ChangeKind.RECLASSIFY, {"cells": (), "value": "monocyte"}),
        (ChangeKind.RECLASSIFY, {"cells": (1,)}),
        (ChangeKind.RECLASSIFY, {"cells": (1, 1), "value": "monocyte"}),
        (ChangeKind.RECLASSIFY, {"cells": (-1,), "value": "monocyte"}),
        (ChangeKind.EXCLUDE, {"cells": tuple(range(MAX_CELLS + 1))}),
        (ChangeKind.COMMENT, {"cells": (1,), "value": "  "}),
        (ChangeKind.REMARK, {"cells": (1,), "value": "words"}),
        (ChangeKind.REMARK, {"value": "x" * 2001}),
        (ChangeKind.DECIDE, {"value": "maybe"}),
        (ChangeKind.CONCLUDE, {"value": "XYZ"}),
        (ChangeKind.UNDO, {}),
        (ChangeKind.SIGN, {"undoes": 1}),
    ],
)
def test_parts_that_do_not_belong_together_make_no_change(kind, more):
    with pytest.raises(ValueError):
        change(1, kind, **more)


def test_who_and_when_must_be_known():
    with pytest.raises(ValueError, match="FHIR reference"):
        change(1, ChangeKind.SIGN, user="Ada")
    with pytest.raises(ValueError, match="zone"):
        Change(number=1, at=datetime(2026, 1, 1), user=ADA, name="", kind=ChangeKind.SIGN)


def test_the_last_label_of_a_cell_holds_and_an_undone_one_does_not():
    held = Review((typed(1, 0, 1), change(2, ChangeKind.EXCLUDE, cells=(1,)), typed(3, 1, value="basophil")))
    assert {p: c.value for p, c in held.labels.items()} == {0: "monocyte", 1: "basophil"}
    held = Review((*held.changes, undo(4, 3)))
    assert held.labels[1].kind is ChangeKind.EXCLUDE
    assert held.version == 4


def test_undoing_an_undo_brings_the_change_back():
    held = Review((typed(1, 0), undo(2, 1), undo(3, 2)))
    assert [c.number for c in held.effective] == [1]


def test_undo_takes_back_ones_own_and_nothing_that_was_signed():
    held = Review((typed(1, 0), typed(2, 1, user=BEN)))
    assert held.undoable(ADA) == held.changes[0]
    held = Review((*held.changes, change(3, ChangeKind.SIGN)))
    assert held.undoable(ADA) is None
    assert held.undoable(BEN) is None
    held = Review((*held.changes, typed(4, 2)))
    assert held.undoable(ADA) == held.changes[3]
    assert held.changed_since_signed


def test_verdict_remark_and_conclusion_are_the_last_ones():
    held = Review(
        (
            change(1, ChangeKind.DECIDE, value="agree"),
            change(2, ChangeKind.DECIDE, value="amend"),
            change(3, ChangeKind.REMARK, value="Auer rods"),
            change(4, ChangeKind.CONCLUDE, value="AML"),
        )
    )
    assert (held.verdict, held.remark, held.conclusion) == (Verdict.AMEND, "Auer rods", Pattern.AML)
    held = Review((*held.changes, change(5, ChangeKind.CONCLUDE), undo(6, 2)))
    assert (held.verdict, held.conclusion) == (Verdict.AGREE, None)


def test_comments_of_several_people_stand_one_after_the_other():
    said = [
        change(n, ChangeKind.COMMENT, cells=(0,), value=t, user=u)
        for n, t, u in ((1, "a", ADA), (2, "b", BEN))
    ]
    assert [c.value for c in Review(tuple(said)).comments[0]] == ["a", "b"]


def test_corrected_cells_are_certain_and_excluded_ones_gone():
    held = Review((typed(1, 0), change(2, ChangeKind.EXCLUDE, cells=(4,)), typed(3, 1, value="myeloblast")))
    cells = corrected(CELLS, held)
    assert [c.cell_type for c in cells] == ["monocyte", "myeloblast", "myeloblast", "myeloblast"]
    assert [c.probability for c in cells] == [1.0, 1.0, 0.6, 0.6]
    assert retyped(CELLS, held) == (1, 1), "a type that was confirmed is no correction"


def test_a_rejected_reading_concludes_nothing():
    with pytest.raises(ValueError, match="rejected"):
        Signature(
            assessment_key="k", number=1, signed_at=READ_AT, user=ADA, name="", verdict=Verdict.REJECT,
            conclusion=Pattern.AML,
        )  # fmt: skip
