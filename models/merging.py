"""The eleven and the five types that figures are given over: what laboratories report, merged from the network's own.

ICSH 2015 (Palmer et al., Int J Lab Hematol 37:287-303) advises counting bands with the segmented neutrophils, as
observers cannot tell them apart alike; analysers report promyelocytes, myelocytes and metamyelocytes as one count of
immature granulocytes. Reactive and CLL-like lymphocytes are one here (a single cell of either calls for the same look),
and so are the two kinds of blast, whose lineage is for flow cytometry to tell. Fixed before any figure was measured.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from models.labels import CELL_TYPES

#: Merged type to the network's types. What is no cell counts with platelets and artifacts: neither is a white cell.
ELEVEN: Mapping[str, tuple[str, ...]] = {
    "neutrophil": ("segmented_neutrophil", "band_neutrophil"),
    "eosinophil": ("eosinophil",),
    "basophil": ("basophil",),
    "monocyte": ("monocyte",),
    "lymphocyte": ("lymphocyte",),
    "atypical_lymphocyte": ("reactive_lymphocyte", "cll_lymphocyte"),
    "immature_granulocyte": ("promyelocyte", "myelocyte", "metamyelocyte"),
    "erythroblast": ("erythroblast",),
    "blast": ("myeloblast", "lymphoblast"),
    "smudge_cell": ("smudge_cell",),
    "platelet_or_artifact": ("platelet_or_artifact", "not_a_cell"),
}
#: The types of healthy blood, for sources that tell no more apart. What is left over stands last, and is never right.
FIVE: Mapping[str, tuple[str, ...]] = {
    "neutrophil": ("segmented_neutrophil", "band_neutrophil"),
    "eosinophil": ("eosinophil",),
    "basophil": ("basophil",),
    "monocyte": ("monocyte",),
    "lymphocyte": ("lymphocyte", "reactive_lymphocyte", "cll_lymphocyte"),
    "anything_else": (
        "lymphoblast", "myeloblast", "promyelocyte", "myelocyte", "metamyelocyte", "erythroblast", "smudge_cell",
        "platelet_or_artifact", "not_a_cell",
    ),
}  # fmt: skip


def merge_probabilities(
    probabilities: npt.NDArray[np.float64], merging: Mapping[str, Sequence[str]]
) -> npt.NDArray[np.float64]:
    """Probabilities ``(n, len(CELL_TYPES))`` summed within each merged type: ``(n, len(merging))``."""
    return np.asarray(probabilities @ _membership(merging), np.float64)


def merge_allowed(
    allowed: npt.NDArray[np.bool_], merging: Mapping[str, Sequence[str]]
) -> npt.NDArray[np.bool_]:
    """Merged types that a label allows, from the types that it allows ``(n, len(CELL_TYPES))``."""
    return np.asarray(allowed.astype(np.int64) @ _membership(merging) > 0)


def _membership(merging: Mapping[str, Sequence[str]]) -> npt.NDArray[np.int64]:
    columns = [[cell_type in types for types in merging.values()] for cell_type in CELL_TYPES]
    return np.array(columns, np.int64)  # (labels, merged)
