"""Every type of the network belongs to exactly one merged type."""

import numpy as np
import pytest

from models.labels import CELL_TYPES
from models.merging import ELEVEN, FIVE, merge_allowed, merge_probabilities


@pytest.mark.parametrize("merging", [ELEVEN, FIVE])
def test_each_type_is_merged_once(merging) -> None:
    assert sorted(t for types in merging.values() for t in types) == sorted(CELL_TYPES)


def test_there_are_eleven() -> None:
    assert len(ELEVEN) == 11


def test_probabilities_are_summed_before_the_largest_is_taken() -> None:
    row = np.zeros((1, len(CELL_TYPES)))
    row[0, CELL_TYPES.index("monocyte")] = 0.4
    row[0, CELL_TYPES.index("myeloblast")] = 0.3
    row[0, CELL_TYPES.index("lymphoblast")] = 0.3
    merged = merge_probabilities(row, ELEVEN)
    assert merged.sum() == pytest.approx(1)
    assert list(ELEVEN)[int(merged.argmax())] == "blast"


def test_a_partial_label_may_become_a_whole_one() -> None:
    allowed = np.zeros((2, len(CELL_TYPES)), bool)
    allowed[0, [CELL_TYPES.index("segmented_neutrophil"), CELL_TYPES.index("band_neutrophil")]] = True
    allowed[1, [CELL_TYPES.index("reactive_lymphocyte"), CELL_TYPES.index("lymphocyte")]] = True
    assert merge_allowed(allowed, ELEVEN).sum(axis=1).tolist() == [1, 2]
    assert merge_allowed(allowed, FIVE).sum(axis=1).tolist() == [1, 1]
