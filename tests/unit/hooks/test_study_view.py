from dataclasses import replace

import pytest

from cds.review import Change, ChangeKind, Review
from cds.values import Cell, Differential, Finding, NotAnalysed
from hooks.reference_ranges import ReferenceRanges
from hooks.study_view import MAX_TILES, assignable, beside, groups, reviewed, rows, told
from tests.fakes.assessments import READ_AT, assessment, finding, not_analysed
from tests.fakes.reading import PATTERN_MODEL

RANGES = ReferenceRanges(
    population="p", source="s", percent={"monocyte": (2.0, 10.0), "myeloblast": (0.0, 0.0)}
)
TYPES = ["myeloblast"] * 4 + ["lymphocyte"] * 4 + ["smudge_cell"]


def cells(probability=0.9):
    return tuple(
        Cell(source="1.2.3.0#1", row=n, column=1, cell_type=t, probability=probability) for n, t in enumerate(TYPES)
    )  # fmt: skip


def read(probability=0.9):
    counts = Differential({"myeloblast": 4, "lymphocyte": 4}, {"smudge_cell": 1})
    return assessment(outcome=replace(finding(), cells=cells(probability), differential=counts))


def log(*changes):
    by = {"at": READ_AT, "user": "Practitioner/1", "name": "Dr. Hem"}
    return Review(tuple(Change(number=n, **by, **change) for n, change in enumerate(changes, 1)))


def typed(value, *positions):
    return {"kind": ChangeKind.RECLASSIFY, "cells": positions, "value": value}


def test_unsure_cells_stand_first_until_somebody_looked_at_them():
    made = read(0.5)
    found = {
        g.id: g
        for g in groups(made, log(typed("myeloblast", 0), {"kind": ChangeKind.EXCLUDE, "cells": (1,)}))
    }
    assert next(iter(found)) == "unsure"
    assert list(found)[-1] == "excluded"
    assert [t.position for t in found["unsure"].tiles] == [2, 3, 4, 5, 6, 7, 8]
    assert [t.position for t in found["myeloblast"].tiles] == [0]
    assert [t.position for t in found["excluded"].tiles] == [1]
    assert found["monocyte"].total == 0, "cells can be dragged there"


def test_there_are_bounds_to_a_gallery_and_the_least_sure_are_shown():
    many = tuple(
        Cell(source="1", row=1, column=1, cell_type="monocyte", probability=0.8 + n / 50_000)
        for n in range(5000)
    )
    made = assessment(outcome=replace(finding(), cells=many))
    (group,) = (g for g in groups(made, Review()) if g.tiles)
    assert (group.total, len(group.tiles)) == (5000, MAX_TILES)
    assert group.tiles[0].position == 0


def test_nothing_is_computed_again_without_a_correction():
    made = read()

    def no_model():
        raise AssertionError("the package is not needed")

    for review in (Review(), log(typed("myeloblast", 0)), log({"kind": ChangeKind.DECIDE, "value": "agree"})):
        now = reviewed(made, review, no_model)
        assert (now.outcome, now.recomputed) == (made.outcome, False)


def test_the_corrected_cells_are_counted_and_interpreted():
    now = reviewed(
        read(),
        log(typed("monocyte", 0), {"kind": ChangeKind.EXCLUDE, "cells": (4, 8)}),
        lambda: PATTERN_MODEL,
    )
    assert now.recomputed
    assert dict(now.differential.counts) == {"monocyte": 1, "myeloblast": 3, "lymphocyte": 3}
    assert dict(now.differential.other) == {}
    assert isinstance(now.outcome, Finding | NotAnalysed)


def test_a_study_without_a_result_has_no_cells():
    made = assessment(outcome=not_analysed())
    assert reviewed(made, Review(), lambda: PATTERN_MODEL).differential.total == 0
    assert not any(g.tiles for g in groups(made, Review()))


def test_rows_hold_what_either_counted_and_what_has_a_range():
    made = rows(Differential({"myeloblast": 1, "lymphocyte": 9}), Differential({"lymphocyte": 9}), RANGES)
    assert {r.cell_type: (r.machine, r.reviewed, r.changed) for r in made} == {
        "monocyte": (0, 0, False),
        "lymphocyte": (9, 9, False),
        "myeloblast": (1, 0, True),
    }
    assert {r.cell_type: r.side for r in made} == {"monocyte": "low", "lymphocyte": "", "myeloblast": ""}


def test_a_count_of_nothing_has_no_share():
    (row,) = rows(Differential({}), Differential({}), RANGES)
    assert (row.cell_type, row.side) == ("monocyte", "")
    ((name, *numbers),) = beside(Differential({}, {"smudge_cell": 2}), Differential({}))
    assert (str(name), numbers) == ("Smudge cell", [2, 0, ""])


def test_types_of_another_package_can_be_given_too():
    odd = assessment(
        outcome=replace(
            finding(), cells=(Cell(source="1", row=1, column=1, cell_type="hairy", probability=1),)
        )
    )
    assert assignable(odd)[-1] == "hairy"
    assert "not_a_cell" not in assignable(odd)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (typed("monocyte", 1), "1 cell: Monocyte"),
        ({"kind": ChangeKind.EXCLUDE, "cells": (1, 2)}, "2 cells taken out"),
        ({"kind": ChangeKind.CONCLUDE, "value": ""}, "conclusion: As the cells give it"),
        ({"kind": ChangeKind.DECIDE, "value": "reject"}, "Reject"),
        ({"kind": ChangeKind.SIGN}, "signed"),
    ],
)
def test_changes_are_told_in_words(change, words):
    review = log(change)
    assert told(review.changes[0], review) == words


def test_an_undo_says_what_it_took_back():
    review = log(typed("monocyte", 1), {"kind": ChangeKind.UNDO, "undoes": 1})
    assert told(review.changes[1], review) == "undid: 1 cell: Monocyte"
