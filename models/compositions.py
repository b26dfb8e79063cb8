"""What the differential of a smear of each pattern is made of: proportions of cell types as patients have them.

Acute myeloid leukemia comes from real patients' differentials; the others from the ranges that hematology gives. CML
can be had from the literature only.
"""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from cds.values import Pattern
from models.errors import CorpusError

#: Share of each type: a mean and a standard deviation in per cent, drawn as a gamma variate, then scaled to 100.
Ranges = Mapping[str, tuple[float, float]]

#: Healthy adults: reference ranges of the manual differential (neutrophils 40-75, lymphocytes 20-45, monocytes 2-10,
#: eosinophils 1-6, basophils below 1.5).
HEALTHY: Ranges = {
    "segmented_neutrophil": (57, 9), "band_neutrophil": (2.5, 2), "lymphocyte": (29, 8),
    "reactive_lymphocyte": (1.5, 1.5), "monocyte": (6, 2.2), "eosinophil": (2.8, 1.7), "basophil": (0.6, 0.4),
    "smudge_cell": (2, 2), "platelet_or_artifact": (1, 2),
}  # fmt: skip
#: No leukemia, though not the healthy ranges: bacterial infection, and viral lymphocytosis.
INFECTION: Ranges = {
    "segmented_neutrophil": (74, 9), "band_neutrophil": (9, 6), "metamyelocyte": (0.6, 0.7), "myelocyte": (0.2, 0.3),
    "lymphocyte": (11, 5), "monocyte": (6, 3), "eosinophil": (0.8, 0.8), "basophil": (0.3, 0.3), "smudge_cell": (2, 2),
}  # fmt: skip
REACTIVE: Ranges = {
    "lymphocyte": (35, 18), "reactive_lymphocyte": (35, 18), "segmented_neutrophil": (20, 14), "monocyte": (5, 3),
    "eosinophil": (1, 1), "smudge_cell": (4, 4),
}  # fmt: skip
#: The same as a cell imager's collection of lymphocytes alone.
REACTIVE_ALONE: Ranges = {"lymphocyte": (30, 22), "reactive_lymphocyte": (70, 22)}

ALL: Ranges = {
    "lymphoblast": (65, 22), "lymphocyte": (18, 11), "segmented_neutrophil": (12, 10), "monocyte": (2, 2),
    "band_neutrophil": (1, 1), "eosinophil": (0.5, 0.6), "smudge_cell": (6, 6), "erythroblast": (1.5, 2),
}  # fmt: skip
CLL: Ranges = {
    "cll_lymphocyte": (72, 15), "lymphocyte": (9, 7), "segmented_neutrophil": (13, 9), "monocyte": (2.5, 2),
    "reactive_lymphocyte": (1.5, 2), "eosinophil": (0.8, 0.8), "smudge_cell": (22, 18),
}  # fmt: skip
CLL_ALONE: Ranges = {"cll_lymphocyte": (95, 5), "lymphocyte": (5, 5)}
#: Chronic phase, after Spiers, Bain and Turner 1977 (Scand J Haematol 18:25-38): 50 patients' mean differential.
CML: Ranges = {
    "myeloblast": (3, 2), "promyelocyte": (4, 2.2), "myelocyte": (12, 4.5), "metamyelocyte": (7, 3),
    "band_neutrophil": (22, 8), "segmented_neutrophil": (43, 10), "basophil": (3.4, 2), "eosinophil": (2.6, 1.6),
    "monocyte": (2, 1.5), "lymphocyte": (3, 2), "erythroblast": (1.5, 1.2), "smudge_cell": (2, 2),
}  # fmt: skip

_VARIANTS: Mapping[Pattern, tuple[tuple[float, Ranges], ...]] = {
    Pattern.HEALTHY: ((0.6, HEALTHY), (0.15, INFECTION), (0.13, REACTIVE), (0.12, REACTIVE_ALONE)),
    Pattern.ALL: ((1.0, ALL),),
    Pattern.CLL: ((0.65, CLL), (0.35, CLL_ALONE)),
    Pattern.CML: ((1.0, CML),),
}

#: Differentials of the patients with AML, in the corpus's folder.
DIFFERENTIALS = "differentials-hopkins.csv"
#: Share of leukemic cells below which nobody could name AML from the differential.
_LEUKEMIC = 0.20

Shares = dict[str, float]


def draw_shares(pattern: Pattern, rng: np.random.Generator, aml: Sequence[Shares]) -> Shares:
    """Proportions of cell types of one patient with that pattern, summing to 1. aml: patients to draw AML from."""
    if pattern is Pattern.AML:
        return _around(aml[int(rng.integers(len(aml)))], rng)
    variants = _VARIANTS[pattern]
    ranges = variants[int(rng.choice(len(variants), p=[odds for odds, _ in variants]))][1]
    drawn = {t: float(rng.gamma((mean / sd) ** 2, sd**2 / mean)) for t, (mean, sd) in ranges.items()}
    blasts = drawn.get("lymphoblast", 0.0) / sum(drawn.values())
    if pattern is Pattern.ALL and blasts < _LEUKEMIC:
        return draw_shares(pattern, rng, aml)
    return {t: share / sum(drawn.values()) for t, share in drawn.items()}


def aml_patients(table: Path) -> list[Shares]:
    """Differentials of the training patients with AML or APL and at least 20 % leukemic cells, from
    ``differentials-hopkins.csv`` (a count per type and patient). Raises CorpusError when it is not there or lacks a
    column."""
    patients = []
    if not table.is_file():
        raise CorpusError(f"{table} is missing: AML is composed of its patients' differentials")
    with table.open(newline="", encoding="utf-8") as stream:
        reader = csv.DictReader(stream)
        if absent := {"split", *(c for columns in _HOPKINS.values() for c in columns)} - set(
            reader.fieldnames or ()
        ):
            raise CorpusError(f"{table} lacks the columns {', '.join(sorted(absent))}")
        for row in reader:
            if row["split"] != "train":
                continue
            counts = {t: sum(float(row[column]) for column in columns) for t, columns in _HOPKINS.items()}
            white = sum(
                n
                for t, n in counts.items()
                if t not in ("erythroblast", "smudge_cell", "platelet_or_artifact")
            )
            if white and (counts["myeloblast"] + counts["promyelocyte"]) / white >= _LEUKEMIC:
                total = sum(counts.values())
                patients.append({t: n / total for t, n in counts.items()})
    return patients


_HOPKINS: Mapping[str, tuple[str, ...]] = {
    "myeloblast": ("blast", "promonocyte"), "promyelocyte": ("promyelocyte",), "myelocyte": ("myelocyte",),
    "metamyelocyte": ("metamyelocyte",), "band_neutrophil": ("band_neutrophil",),
    "segmented_neutrophil": ("segmented_neutrophil",), "eosinophil": ("eosinophil",), "basophil": ("basophil",),
    "monocyte": ("monocyte",), "lymphocyte": ("lymphocyte",), "reactive_lymphocyte": ("variant_lymphocyte",),
    "erythroblast": ("erythroblast",), "smudge_cell": ("smudge_cell",),
    "platelet_or_artifact": ("giant_platelet", "platelet_clump", "artifact"),
}  # fmt: skip


def _around(shares: Shares, rng: np.random.Generator) -> Shares:
    """A patient like that one: a Dirichlet draw as variable as another hundred cells would be."""
    types = list(shares)
    drawn = rng.dirichlet([100 * shares[t] + 0.05 for t in types])
    return dict(zip(types, drawn.tolist(), strict=True))
