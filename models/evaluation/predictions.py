"""What a package said about labelled cells and fields, and the files that keep it."""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from cds.cell_types import NOT_A_CELL, OUTSIDE_DIFFERENTIAL
from cds.values import Differential
from models.labels import CELL_TYPES

Floats = npt.NDArray[np.float64]

#: A source that was never trained on; its figures stand alone, never in a pooled one.
EXTERNAL = "cellavision_blog"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Predictions:
    """What a package said about labelled cells: probabilities ``(n, labels)`` in the order of CELL_TYPES."""

    source: tuple[str, ...]
    group: tuple[str, ...]
    source_label: tuple[str, ...]
    allowed: npt.NDArray[np.bool_]
    probabilities: Floats
    #: Distance of each cell to the training cells ``(n,)`` (see `models.ood`); None where the package has none.
    distance: Floats | None = None

    @property
    def predicted(self) -> npt.NDArray[np.int64]:
        best: npt.NDArray[np.int64] = self.probabilities.argmax(axis=1).astype(np.int64)
        return best

    @property
    def truth(self) -> npt.NDArray[np.int64]:
        """The true type; where the label allows several, the predicted one if it is among them, else the first."""
        return true_among(self.allowed, self.predicted)

    def where(self, mask: npt.NDArray[np.bool_]) -> "Predictions":
        rows = np.flatnonzero(mask)
        return Predictions(
            source=tuple(self.source[i] for i in rows),
            group=tuple(self.group[i] for i in rows),
            source_label=tuple(self.source_label[i] for i in rows),
            allowed=self.allowed[rows],
            probabilities=self.probabilities[rows],
            distance=None if self.distance is None else self.distance[rows],
        )

    def of(self, *sources: str) -> "Predictions":
        return self.where(np.isin(np.array(self.source), sources))

    def probability(self, *types: str) -> Floats:
        total: Floats = self.probabilities[:, [CELL_TYPES.index(t) for t in types]].sum(axis=1)
        return total


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldReading:
    """What a package read in one field of view that is labelled as a whole."""

    field: str
    group: str
    #: "ALL" or "none", the field's label.
    disease: str
    #: Mean probability that a found cell is a blast of either lineage, and of the lymphoid one; 0 where none was found.
    mean_blast: float
    mean_lymphoblast: float
    #: How many of the found cells were given each type, in the order of CELL_TYPES; not_a_cell among them.
    counts: tuple[int, ...]


def true_among(allowed: npt.NDArray[np.bool_], predicted: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The true label by row of allowed ones ``(n, labels)``: the predicted one if it is allowed, else the first."""
    fits = allowed[np.arange(len(predicted)), predicted]
    return np.where(fits, predicted, allowed.argmax(axis=1)).astype(np.int64)


def differential_of(counts: Sequence[int]) -> Differential:
    """The differential of as many cells of each of CELL_TYPES; what is not a cell is dropped."""
    named = {t: int(n) for t, n in zip(CELL_TYPES, counts, strict=True) if t != NOT_A_CELL}
    return Differential(
        {t: n for t, n in named.items() if t not in OUTSIDE_DIFFERENTIAL},
        {t: n for t, n in named.items() if t in OUTSIDE_DIFFERENTIAL},
    )


def write_predictions(predictions: Predictions, path: Path) -> None:
    """One row per cell: source, group, the source's label, allowed types, distance, the probability of each type."""
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["source", "group", "source_label", "allowed", "distance", *CELL_TYPES])
        for i, probabilities in enumerate(predictions.probabilities):
            allowed = "|".join(t for t, yes in zip(CELL_TYPES, predictions.allowed[i], strict=True) if yes)
            writer.writerow([
                predictions.source[i], predictions.group[i], predictions.source_label[i], allowed,
                "" if predictions.distance is None else f"{predictions.distance[i]:.2f}",
                *(short(p) for p in probabilities),
            ])  # fmt: skip


def read_predictions(path: Path) -> Predictions:
    """The file that `write_predictions` wrote. Raises ValueError when it is not one."""
    rows = list(_rows(path, {"source", "group", "source_label", "allowed", *CELL_TYPES}))
    distances = [r.get("distance") or "" for r in rows]
    return Predictions(
        source=tuple(r["source"] for r in rows),
        group=tuple(r["group"] for r in rows),
        source_label=tuple(r["source_label"] for r in rows),
        allowed=np.array([[t in r["allowed"].split("|") for t in CELL_TYPES] for r in rows], bool),
        probabilities=np.array([[float(r[t]) for t in CELL_TYPES] for r in rows]),
        distance=np.array([float(d) for d in distances]) if all(distances) else None,
    )


def write_fields(fields: Sequence[FieldReading], path: Path) -> None:
    """One row per field: its label, mean probabilities, and how many cells of each type were read in it."""
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["field", "group", "disease", "mean_blast", "mean_lymphoblast", *CELL_TYPES])
        for f in fields:
            writer.writerow(
                [f.field, f.group, f.disease, short(f.mean_blast), short(f.mean_lymphoblast), *f.counts]
            )


def read_fields(path: Path) -> list[FieldReading]:
    """The file that `write_fields` wrote. Raises ValueError when it is not one."""
    return [
        FieldReading(
            field=r["field"],
            group=r["group"],
            disease=r["disease"],
            mean_blast=float(r["mean_blast"]),
            mean_lymphoblast=float(r["mean_lymphoblast"]),
            counts=tuple(int(r[t]) for t in CELL_TYPES),
        )
        for r in _rows(path, {"field", "group", "disease", "mean_blast", "mean_lymphoblast", *CELL_TYPES})
    ]


def short(number: float) -> str:
    """Five decimals, the zeros at the end left out."""
    return f"{number:.5f}".rstrip("0").rstrip(".")


def _rows(path: Path, columns: set[str]) -> Iterator[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as stream:
        reader = csv.DictReader(stream)
        if missing := columns - set(reader.fieldnames or ()):
            raise ValueError(f"{path} lacks the columns {', '.join(sorted(missing))}")
        yield from reader
