from cds.cell_types import GROUPS, TELLING, count_cells, informative
from cds.values import Cell


def cell(cell_type: str, probability: float = 0.9) -> Cell:
    return Cell(source="a", row=0, column=0, cell_type=cell_type, probability=probability)


def test_cells_are_counted_beside_and_within_the_differential():
    differential = count_cells(
        [cell("lymphocyte"), cell("lymphocyte"), cell("smudge_cell"), cell("not_a_cell")]
    )
    assert dict(differential.counts) == {"lymphocyte": 2}
    assert dict(differential.other) == {"smudge_cell": 1}


def test_the_few_telling_cells_are_kept_among_many_dull_ones():
    cells = [cell("segmented_neutrophil", 0.99) for _ in range(500)] + [cell("myeloblast", 0.4)]
    kept = informative(cells, 20)
    assert len(kept) == 20
    assert 500 in kept


def test_of_one_type_the_surest_are_kept():
    cells = [cell("myeloblast", p / 100) for p in range(100)]
    assert informative(cells, 10) == set(range(90, 100))


def test_every_type_is_shown_before_one_takes_all():
    cells = [cell("myeloblast") for _ in range(200)] + [cell("eosinophil") for _ in range(3)]
    assert {200, 201, 202} <= informative(cells, 50)


def test_groups_name_types_that_have_a_rank():
    assert {t for types in GROUPS.values() for t in types} <= set(TELLING)
