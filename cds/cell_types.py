"""Cell types by name, as hematology groups them. A package's card may name fewer; the names are the contract."""

from collections.abc import Mapping, Sequence

from cds.values import Cell, Differential

#: The crop's centre is no cell: dropped before anything is counted.
NOT_A_CELL = "not_a_cell"
#: Nucleated or stained things that stand beside the white-cell differential (CLSI H20-A2 counts erythroblasts and
#: smudges per 100 white cells).
OUTSIDE_DIFFERENTIAL = ("erythroblast", "smudge_cell", "platelet_or_artifact")

MATURE_GRANULOCYTES = ("segmented_neutrophil", "band_neutrophil")
GRANULOCYTE_PRECURSORS = ("promyelocyte", "myelocyte", "metamyelocyte")

#: Groups that features, limits and sentences speak of.
GROUPS: Mapping[str, tuple[str, ...]] = {
    "blasts": ("myeloblast", "lymphoblast"),
    "myeloblasts": ("myeloblast",),
    "lymphoblasts": ("lymphoblast",),
    "promyelocytes": ("promyelocyte",),
    "later_precursors": ("myelocyte", "metamyelocyte"),
    "precursors": GRANULOCYTE_PRECURSORS,
    "mature_granulocytes": MATURE_GRANULOCYTES,
    "eosinophils": ("eosinophil",),
    "basophils": ("basophil",),
    "monocytes": ("monocyte",),
    "lymphocytes": ("lymphocyte",),
    "reactive_lymphocytes": ("reactive_lymphocyte",),
    "cll_lymphocytes": ("cll_lymphocyte",),
    "mature_lymphocytes": ("lymphocyte", "reactive_lymphocyte", "cll_lymphocyte"),
}

#: Most telling first: which cells a clinician wants to see when there is room for few.
TELLING = (
    "myeloblast", "lymphoblast", "promyelocyte", "cll_lymphocyte", "basophil", "myelocyte", "metamyelocyte",
    "reactive_lymphocyte", "erythroblast", "smudge_cell", "monocyte", "eosinophil", "lymphocyte", "band_neutrophil",
    "segmented_neutrophil", "platelet_or_artifact",
)  # fmt: skip


def count_cells(cells: Sequence[Cell]) -> Differential:
    """The differential of classified cells."""
    counts: dict[str, int] = {}
    other: dict[str, int] = {}
    for cell in cells:
        if cell.cell_type != NOT_A_CELL:
            into = other if cell.cell_type in OUTSIDE_DIFFERENTIAL else counts
            into[cell.cell_type] = into.get(cell.cell_type, 0) + 1
    return Differential(counts, other)


def leukemic_types(differential: Differential) -> tuple[str, ...]:
    """The types that count as blasts in this differential.

    Promyelocytes are blast equivalents where maturation stops at them (in APL above all): where they outnumber the
    myelocytes and metamyelocytes that a left shift would bring along.
    """
    arrested = differential.count("promyelocyte") > differential.count(*GROUPS["later_precursors"])
    return (*GROUPS["blasts"], "promyelocyte") if arrested else GROUPS["blasts"]


def informative(cells: Sequence[Cell], at_most: int) -> set[int]:
    """Indices of the at most `at_most` cells worth showing: the surest of every type, then the more telling types."""
    of_type: dict[str, list[int]] = {}
    for index in sorted(range(len(cells)), key=lambda i: -cells[i].probability):
        of_type.setdefault(cells[index].cell_type, []).append(index)
    # The first dozen of each type comes before the thirteenth of any.
    ranked = sorted(
        (rank // 12, telling_rank(cell_type), rank, index)
        for cell_type, indices in of_type.items()
        for rank, index in enumerate(indices)
    )
    return {index for *_, index in ranked[:at_most]}


def telling_rank(cell_type: str) -> int:
    return TELLING.index(cell_type) if cell_type in TELLING else len(TELLING)
