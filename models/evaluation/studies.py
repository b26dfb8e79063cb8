"""Studies composed of test cells, and the patterns that the package names in them.

No public source has whole smears of the five classes, so they are put together: so many cells of each type as a
patient has (`models.compositions`, or a patient's own differential by the experts), each read as the package read some
test cell of that type. Where a source has patients, a study's telling cells are one patient's; elsewhere each type's
cells come from one group of the source, as one patient's cells are misread alike. What a source lacks, another stands
in for. CML is composed of cells of donors without CML: no CML patient was ever seen.
"""

import csv
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from cds.interpret import class_probabilities, decide
from cds.values import Pattern, PatternModel
from models.compositions import Shares, draw_shares
from models.errors import CorpusError
from models.evaluation.predictions import EXTERNAL, Predictions, differential_of
from models.labels import CELL_TYPES, SOURCE_LABELS

#: White cells and others in a composed study: a laboratory's hundred.
CELLS = 100
#: Share of leukemic cells in the experts' differential from which AML is named whatever the genetics (WHO 2022).
_LEUKEMIC = 0.20
#: Where the cells of a type come from when a study's own source has none, in this order.
_STAND_INS = ("barcelona", "hopkins", "lyon")
#: From this share of reactive lymphocytes on, a study without leukemia is composed of a reactive patient of Lyon.
_REACTIVE = 0.15
_LEUKEMIC_LABELS = ("blast", "promyelocyte", "promonocyte")
_OUTSIDE = ("erythroblast", "smudge_cell", "giant_platelet", "platelet_clump", "artifact")

Counts = tuple[int, ...]
Votes = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class ComposedStudy:
    """One study: what it is (`truth`), whose cells it holds, and what the package read (counts by CELL_TYPES)."""

    #: "five_class", "hopkins" or "external".
    of: str
    truth: str
    #: The source, and the patient or block, of the telling cells.
    source: str
    group: str
    counts: Counts
    #: Of a hopkins patient's study: the share of leukemic cells in the experts' differential.
    leukemic_share: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpertDifferential:
    """A patient's differential by the experts: counts by the source's labels."""

    group: str
    counts: Mapping[str, int]

    @property
    def leukemic_share(self) -> float:
        """Blasts, promyelocytes and promonocytes among the white cells, 0 to 1."""
        white = sum(n for label, n in self.counts.items() if label not in _OUTSIDE)
        return sum(self.counts.get(label, 0) for label in _LEUKEMIC_LABELS) / white if white else 0.0

    @property
    def shares(self) -> Shares:
        """Share of each of the package's types among all cells that have one."""
        found: dict[str, float] = defaultdict(float)
        for label, n in self.counts.items():
            if n and SOURCE_LABELS[label]:
                found[SOURCE_LABELS[label][0]] += n
        total = sum(found.values())
        return {t: n / total for t, n in found.items()}


def read_differentials(table: Path, split: str) -> list[ExpertDifferential]:
    """Patients of one split in ``differentials-hopkins.csv``."""
    with table.open(newline="", encoding="utf-8") as stream:
        rows = [r for r in csv.DictReader(stream) if r["split"] == split]
    named = ("group", "disease", "split")
    return [
        ExpertDifferential(group=r["group"], counts={k: int(n) for k, n in r.items() if k not in named})
        for r in rows
    ]


class CellBank:
    """How the test cells of each source, type and group were read: shares of CELL_TYPES, and how often a group counts.

    weights: multiplicity of each (source, group) in a bootstrap draw; 1 for all when None.
    """

    def __init__(
        self, predictions: Predictions, weights: Mapping[tuple[str, str], int] | None = None
    ) -> None:
        members: dict[tuple[str, str, str], list[int]] = defaultdict(list)
        for i, label in enumerate(predictions.source_label):
            cell_type = "non_blast" if label == "non_blast" else SOURCE_LABELS[label][0]
            members[predictions.source[i], cell_type, predictions.group[i]].append(i)
        votes = np.eye(len(CELL_TYPES))[predictions.predicted]
        self._of: dict[tuple[str, str], list[tuple[str, Votes]]] = defaultdict(list)
        for (source, cell_type, group), rows in sorted(members.items()):
            times = 1 if weights is None else weights.get((source, group), 0)
            self._of[source, cell_type] += [(group, votes[rows].mean(axis=0))] * times

    def groups(self, source: str, cell_type: str) -> list[str]:
        """Groups that hold cells of a type, repeated as often as they count."""
        return [group for group, _ in self._of.get((source, cell_type), [])]

    def read(
        self,
        shares: Shares,
        rng: np.random.Generator,
        *,
        source: str,
        group: str | None = None,
        cells: int = CELLS,
    ) -> Counts:
        """Compose a study of `cells` cells in those shares and give how they were read, by CELL_TYPES.

        A type's cells come from `group` of `source` where it has them, then from another group of the source, then
        from a source that stands in. Raises CorpusError for a type that no source has.
        """
        types = list(shares)
        truth = rng.multinomial(cells, np.array([shares[t] for t in types]) / sum(shares.values()))
        counts = np.zeros(len(CELL_TYPES), np.int64)
        for cell_type, n in zip(types, truth.tolist(), strict=True):
            if n:
                counts += rng.multinomial(n, self._votes(cell_type, rng, source, group))
        return tuple(int(n) for n in counts)

    def _votes(self, cell_type: str, rng: np.random.Generator, source: str, group: str | None) -> Votes:
        for place in (source, *_STAND_INS):
            for known_as in _known_as(place, cell_type):
                candidates = self._of.get((place, known_as), [])
                own = [votes for name, votes in candidates if place == source and name == group]
                if own:
                    return own[0]
                if candidates:
                    return candidates[int(rng.integers(len(candidates)))][1]
        raise CorpusError(f"no source has test cells of type {cell_type} to compose studies of")


def compose_five_classes(
    bank: CellBank, patients: Sequence[ExpertDifferential], rng: np.random.Generator, *, per_class: int
) -> list[ComposedStudy]:
    """`per_class` studies of each class that the bank's sources allow.

    patients: hopkins patients with their differentials; AML is composed of those with 20 % leukemic cells or more.
    """
    aml = {p.group: p.shares for p in patients if p.leukemic_share >= _LEUKEMIC}
    tellers: dict[Pattern, tuple[str, list[str]]] = {
        Pattern.ALL: ("allidb2", bank.groups("allidb2", "lymphoblast")),
        Pattern.AML: ("hopkins", [g for g in bank.groups("hopkins", "myeloblast") if g in aml]),
        Pattern.CLL: ("lyon", bank.groups("lyon", "cll_lymphocyte")),
        Pattern.CML: ("barcelona", bank.groups("barcelona", "myelocyte")),
    }
    studies: list[ComposedStudy] = []
    for pattern, (source, groups) in tellers.items():
        for _ in range(per_class if groups else 0):
            group = groups[int(rng.integers(len(groups)))]
            shares = draw_shares(pattern, rng, [aml[group]] if pattern is Pattern.AML else [])
            # A donor of barcelona is no CML patient: each type comes from a group of its own.
            own = None if pattern is Pattern.CML else group
            studies.append(_study(bank, shares, rng, "five_class", pattern, source, own))
    for _ in range(per_class):
        shares = draw_shares(Pattern.HEALTHY, rng, [])
        reactive = bank.groups("lyon", "reactive_lymphocyte")
        if shares.get("reactive_lymphocyte", 0.0) >= _REACTIVE and reactive:
            source, own = "lyon", reactive[int(rng.integers(len(reactive)))]
        else:
            source, own = ("barcelona", "lisc")[int(rng.integers(2))], None
        studies.append(_study(bank, shares, rng, "five_class", Pattern.HEALTHY, source, own))
    return studies


def compose_patients(
    bank: CellBank, patients: Sequence[ExpertDifferential], rng: np.random.Generator, *, each: int = 25
) -> list[ComposedStudy]:
    """`each` studies of every hopkins patient, of its own test cells in the proportions of its differential."""
    return [
        replace(
            _study(bank, p.shares, rng, "hopkins", Pattern.AML, "hopkins", p.group),
            leukemic_share=round(p.leukemic_share, 4),
        )
        for p in patients
        for _ in range(each)
    ]


def compose_external(bank: CellBank, rng: np.random.Generator, *, count: int) -> list[ComposedStudy]:
    """Healthy studies of the source that was never trained on, as far as it has the types."""
    studies: list[ComposedStudy] = []
    while len(studies) < count and bank.groups(EXTERNAL, "lymphocyte"):
        shares = draw_shares(Pattern.HEALTHY, rng, [])
        if shares.get("reactive_lymphocyte", 0.0) < _REACTIVE:
            studies.append(_study(bank, shares, rng, "external", Pattern.HEALTHY, EXTERNAL, None))
    return studies


def named(study: ComposedStudy, model: PatternModel) -> Pattern:
    """The pattern that the package names; too few white cells count as indeterminate."""
    differential = differential_of(study.counts)
    if differential.total < model.min_cells:
        return Pattern.INDETERMINATE
    return decide(differential, class_probabilities(differential, model), model)[0]


def write_studies(studies: Sequence[ComposedStudy], path: Path) -> None:
    """One row per study: what it is, whose telling cells, and how many cells of each type were read."""
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["of", "truth", "source", "group", "leukemic_share", *CELL_TYPES])
        for s in studies:
            share = "" if s.leukemic_share is None else s.leukemic_share
            writer.writerow([s.of, s.truth, s.source, s.group, share, *s.counts])


def read_studies(path: Path) -> list[ComposedStudy]:
    """The file that `write_studies` wrote."""
    with path.open(newline="", encoding="utf-8") as stream:
        return [
            ComposedStudy(
                of=r["of"],
                truth=r["truth"],
                source=r["source"],
                group=r["group"],
                counts=tuple(int(r[t]) for t in CELL_TYPES),
                leukemic_share=float(r["leukemic_share"]) if r["leukemic_share"] else None,
            )
            for r in csv.DictReader(stream)
        ]


def _study(
    bank: CellBank,
    shares: Shares,
    rng: np.random.Generator,
    of: str,
    truth: Pattern,
    source: str,
    group: str | None,
) -> ComposedStudy:
    counts = bank.read(shares, rng, source=source, group=group)
    return ComposedStudy(of=of, truth=str(truth), source=source, group=group or "", counts=counts)


def _known_as(source: str, cell_type: str) -> tuple[str, ...]:
    """Under which types a source holds cells of a type: itself first, then what its coarser labels may hide."""
    if source == "lyon" and cell_type == "lymphocyte":
        return ("reactive_lymphocyte",)
    if source in ("lisc", EXTERNAL) and cell_type == "band_neutrophil":
        return ("segmented_neutrophil",)
    if source == "allidb2" and cell_type in SOURCE_LABELS["non_blast"]:
        return (cell_type, "non_blast")
    return (cell_type,)
