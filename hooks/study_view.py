"""What a study's page shows, from a reading and its review: values for the templates, no HTML."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from cds.cell_types import GROUPS, NOT_A_CELL, OUTSIDE_DIFFERENTIAL, count_cells
from cds.interpret import interpret
from cds.language import Text
from cds.report_text import cell_name, percent
from cds.review import Change, ChangeKind, Review, corrected
from cds.values import (
    Assessment,
    Cell,
    Differential,
    Finding,
    NotAnalysed,
    Pattern,
    PatternModel,
    SmearReading,
    wilson_interval,
)
from fhir_profiles.codes import PATTERNS, PERCENT
from hooks.reference_ranges import ReferenceRanges
from hooks.study_words import CHANGES, TEXTS, VERDICTS, cells_text
from hooks.wording import PATTERN_NAMES, between

#: Below this probability a cell that nobody looked at stands in the unsure group.
UNSURE_BELOW = 0.7
#: Cells on one page, the least sure of each type first where there are more.
MAX_TILES = 2000
#: Letters that give a type in the gallery; a type without one is given by drag or menu.
KEYS: Mapping[str, str] = {
    "segmented_neutrophil": "n", "band_neutrophil": "b", "eosinophil": "e", "basophil": "a", "monocyte": "m",
    "lymphocyte": "l", "reactive_lymphocyte": "r", "cll_lymphocyte": "c", "lymphoblast": "y", "myeloblast": "x",
    "promyelocyte": "p", "myelocyte": "k", "metamyelocyte": "t", "erythroblast": "o", "smudge_cell": "s",
}  # fmt: skip
#: Short names for marks in the image.
SHORT: Mapping[str, str] = {
    "segmented_neutrophil": "Seg", "band_neutrophil": "Band", "eosinophil": "Eo", "basophil": "Baso",
    "monocyte": "Mono",
    "lymphocyte": "Ly", "reactive_lymphocyte": "ReLy", "cll_lymphocyte": "CLL", "lymphoblast": "LyBl",
    "myeloblast": "MyBl", "promyelocyte": "Pro", "myelocyte": "Myelo", "metamyelocyte": "Meta", "erythroblast": "NRBC",
    "smudge_cell": "Smu",
}  # fmt: skip
#: As a laboratory lists them.
ORDER = (*(t for t in PERCENT if t not in OUTSIDE_DIFFERENTIAL), "erythroblast", "smudge_cell")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A line of the differential; counts are None where that side was not analysed. width, low, high: percent."""

    cell_type: str
    name: Text
    machine: int
    reviewed: int
    share: str
    interval: str
    width: float
    low: float
    high: float
    limits: str
    side: str

    @property
    def changed(self) -> bool:
        return self.machine != self.reviewed


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """A cell in the gallery."""

    position: int
    cell_type: str
    name: Text
    machine_type: str
    machine_name: Text
    probability: float
    percent: str
    image: int
    labelled: bool
    comments: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """The tiles of one type; id: the type, or "unsure" or "excluded"."""

    id: str
    name: Text
    key: str
    total: int
    tiles: tuple[Tile, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reviewed:
    """A reading as its review leaves it."""

    outcome: Finding | NotAnalysed
    differential: Differential
    #: Whether any cell was typed anew or taken out, so that `outcome` was computed again.
    recomputed: bool


def assignable(assessment: Assessment) -> tuple[str, ...]:
    """The types that a cell can be given: those with a name of ours, and those of the package that read the study."""
    own = {cell.cell_type for cell in cells_of(assessment)} - {NOT_A_CELL}
    return (*ORDER, *sorted(own - set(ORDER)))


def cells_of(assessment: Assessment) -> tuple[Cell, ...]:
    return assessment.outcome.cells if isinstance(assessment.outcome, Finding) else ()


def reviewed(assessment: Assessment, review: Review, model: Callable[[], PatternModel]) -> Reviewed:
    """The reading interpreted anew by the same rules, from the cells as they stand now."""
    outcome = assessment.outcome
    labels = review.labels
    if isinstance(outcome, NotAnalysed):
        return Reviewed(outcome=outcome, differential=Differential({}), recomputed=False)
    if not any(_changes(outcome.cells, position, change) for position, change in labels.items()):
        return Reviewed(outcome=outcome, differential=outcome.differential, recomputed=False)
    cells = corrected(outcome.cells, review)
    made = interpret(SmearReading(images=assessment.images, cells=cells), model())
    return Reviewed(outcome=made, differential=count_cells(cells), recomputed=True)


def rows(machine: Differential, now: Differential, ranges: ReferenceRanges) -> list[Row]:
    """Every type that either has, or that has a range above zero, as a laboratory lists them."""
    expected = {t for t, (_, high) in ranges.percent.items() if high > 0}
    held = {*machine.counts, *now.counts, *expected}
    return [_row(t, machine, now, ranges) for t in _ordered(held)]


def beside(machine: Differential, now: Differential) -> list[tuple[Text, int, int, str]]:
    """Name, the machine's and the reviewed number, and how many per 100 white cells, of what stands beside."""
    held = _ordered({*machine.other, *now.other})
    return [
        (
            cell_name(t),
            machine.other.get(t, 0),
            now.other.get(t, 0),
            f"{100 * now.other.get(t, 0) / now.total:.0f}" if now.total else "",
        )
        for t in held
    ]


def groups(assessment: Assessment, review: Review) -> list[Group]:
    """Unsure cells first, then every assignable type (also the empty ones: cells can be dragged there), at last what
    was taken out."""
    labels, comments = review.labels, review.comments
    images = {image.source: index for index, image in enumerate(assessment.images)}
    found: dict[str, list[Tile]] = {}
    for position, cell in enumerate(cells_of(assessment)):
        change = labels.get(position)
        excluded = change is not None and change.kind is ChangeKind.EXCLUDE
        cell_type = change.value if change is not None and not excluded else cell.cell_type
        group = "excluded" if excluded else cell_type
        if change is None and cell.probability < UNSURE_BELOW:
            group = "unsure"
        found.setdefault(group, []).append(
            Tile(
                position=position,
                cell_type=cell_type,
                name=cell_name(cell_type),
                machine_type=cell.cell_type,
                machine_name=cell_name(cell.cell_type),
                probability=cell.probability,
                percent=percent(cell.probability),
                image=images.get(cell.source, -1),
                labelled=change is not None,
                comments=len(comments.get(position, ())),
            )
        )
    names = {"unsure": TEXTS["unsure"], "excluded": TEXTS["excluded"]}
    each = MAX_TILES // max(1, len(found))
    return [
        _group(name, names.get(name) or cell_name(name), found.get(name, []), each)
        for name in ("unsure", *assignable(assessment), "excluded")
    ]


def told(change: Change, review: Review) -> str:
    """A change in words."""
    value: Text = change.value
    if change.kind is ChangeKind.RECLASSIFY:
        value = cell_name(change.value)
    elif change.kind is ChangeKind.CONCLUDE:
        value = PATTERN_NAMES[Pattern(change.value)] if change.value else TEXTS["conclusion_cells"]
    elif change.kind is ChangeKind.DECIDE:
        value = next(name for verdict, name in VERDICTS.items() if verdict.value == value)
    elif change.kind is ChangeKind.UNDO:
        undone = next(c for c in review.changes if c.number == change.undoes)
        value = told(undone, review)
    return CHANGES[change.kind].format(cells=cells_text(len(change.cells)), value=value)


def blasts(differential: Differential) -> tuple[float, float, float]:
    """Percent of white cells that are blasts, with the ends of its 95 % interval."""
    low, high = differential.interval(*GROUPS["blasts"])
    return 100 * differential.fraction(*GROUPS["blasts"]), 100 * low, 100 * high


def known_patterns() -> list[tuple[str, Text]]:
    return [(pattern, PATTERN_NAMES[Pattern(pattern)]) for pattern in PATTERNS]


def _row(cell_type: str, machine: Differential, now: Differential, ranges: ReferenceRanges) -> Row:
    count, total = now.count(cell_type), now.total
    share = count / total if total else 0.0
    low, high = wilson_interval(count, total)
    limits = ranges.of(cell_type)
    return Row(
        cell_type=cell_type,
        name=cell_name(cell_type),
        machine=machine.count(cell_type),
        reviewed=count,
        share=percent(share),
        interval=between(low, high),
        width=round(100 * share, 2),
        low=round(100 * low, 2),
        high=round(100 * high, 2),
        limits=_limits(limits) if limits else "",
        side=ranges.side(cell_type, share) if total else "",
    )


def _limits(limits: tuple[float, float]) -> str:
    low, high = limits
    return f"{low:g}–{high:g} %" if high else "0 %"


def _group(name: str, shown_name: Text, tiles: Sequence[Tile], at_most: int) -> Group:
    least_first = sorted(tiles, key=lambda tile: tile.probability)
    shown = least_first if len(tiles) <= at_most else least_first[:at_most]
    return Group(id=name, name=shown_name, key=KEYS.get(name, ""), total=len(tiles), tiles=tuple(shown))


def _ordered(types: set[str]) -> list[str]:
    return [*(t for t in ORDER if t in types), *sorted(types - set(ORDER))]


def _changes(cells: Sequence[Cell], position: int, change: Change) -> bool:
    return change.kind is ChangeKind.EXCLUDE or cells[position].cell_type != change.value
