"""Predictions made by hand: what each cell is, and what it was read as."""

from collections.abc import Sequence

import numpy as np

from models.evaluation.predictions import Predictions
from models.evaluation.studies import ExpertDifferential
from models.labels import CELL_TYPES, allowed_types

_HEALTHY = (
    "segmented_neutrophil", "band_neutrophil", "eosinophil", "basophil", "monocyte", "lymphocyte", "promyelocyte",
    "myelocyte", "metamyelocyte", "erythroblast", "platelet",
)  # fmt: skip
#: Every type that a study may need, each read rightly.
CELLS: list[tuple[str, str, str, str]] = [
    *[("barcelona", f"b-{t}", t, "platelet_or_artifact" if t == "platelet" else t) for t in _HEALTHY],
    *[
        ("lisc", f"l-{t}", t, "segmented_neutrophil" if t == "neutrophil" else t)
        for t in ("neutrophil", "eosinophil", "basophil", "monocyte", "lymphocyte")
    ],
    ("hopkins", "hopkins-1", "blast", "myeloblast"),
    ("hopkins", "hopkins-1", "lymphocyte", "lymphocyte"),
    ("hopkins", "hopkins-2", "blast", "monocyte"),
    ("hopkins", "hopkins-2", "variant_lymphocyte", "reactive_lymphocyte"),
    ("hopkins", "hopkins-2", "smudge_cell", "smudge_cell"),
    ("lyon", "P1", "tumoral_lymphocyte", "cll_lymphocyte"),
    ("lyon", "P2", "reactive_lymphocyte", "reactive_lymphocyte"),
    ("allidb2", "a1", "lymphoblast", "lymphoblast"),
    ("allidb2", "a2", "non_blast", "lymphocyte"),
]
PATIENTS = [
    ExpertDifferential(group="hopkins-1", counts={"blast": 60, "lymphocyte": 40}),
    ExpertDifferential(group="hopkins-2", counts={"blast": 5, "lymphocyte": 95, "smudge_cell": 30}),
]


def read_as(cells: Sequence[tuple[str, str, str, str]], *, sure: float = 1.0) -> Predictions:
    """cells: source, group, the source's label, the type that it was read as, with probability `sure`."""
    labels = len(CELL_TYPES)
    probabilities = np.full((len(cells), labels), (1 - sure) / (labels - 1))
    probabilities[np.arange(len(cells)), [CELL_TYPES.index(c[3]) for c in cells]] = sure
    return Predictions(
        source=tuple(c[0] for c in cells),
        group=tuple(c[1] for c in cells),
        source_label=tuple(c[2] for c in cells),
        allowed=np.array([[t in allowed_types(c[2]) for t in CELL_TYPES] for c in cells], bool),
        probabilities=probabilities,
    )
