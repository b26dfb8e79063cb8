"""What a package said survives the way to its file and back."""

from pathlib import Path

import numpy as np
import pytest

from models.evaluation.predictions import (
    FieldReading,
    differential_of,
    read_fields,
    read_predictions,
    write_fields,
    write_predictions,
)
from models.labels import CELL_TYPES
from tests.fakes.predictions import read_as


def test_cells_come_back_as_they_were(tmp_path: Path) -> None:
    told = read_as(
        [("lisc", "g1", "neutrophil", "eosinophil"), ("hopkins", "p", "blast", "monocyte")], sure=0.7
    )
    write_predictions(told, tmp_path / "cells.csv")
    again = read_predictions(tmp_path / "cells.csv")
    assert (again.source, again.group, again.source_label) == (told.source, told.group, told.source_label)
    assert (again.allowed == told.allowed).all()
    assert np.allclose(again.probabilities, told.probabilities, atol=1e-5)
    assert again.distance is None


def test_fields_come_back_as_they_were(tmp_path: Path) -> None:
    fields = [
        FieldReading(
            field="a.jpg", group="b1", disease="ALL", mean_blast=0.25, mean_lymphoblast=0.0,
            counts=tuple(range(len(CELL_TYPES))),
        )
    ]  # fmt: skip
    write_fields(fields, tmp_path / "fields.csv")
    assert read_fields(tmp_path / "fields.csv") == fields


def test_another_file_is_refused_by_what_it_lacks(tmp_path: Path) -> None:
    (tmp_path / "other.csv").write_text("source,group\nlisc,g\n")
    with pytest.raises(ValueError, match=r"lacks the columns .*source_label"):
        read_predictions(tmp_path / "other.csv")


def test_truth_is_the_named_type_where_the_label_allows_it() -> None:
    told = read_as([("lisc", "g", "neutrophil", "band_neutrophil"), ("lisc", "g", "neutrophil", "monocyte")])
    assert [CELL_TYPES[i] for i in told.truth] == ["band_neutrophil", "segmented_neutrophil"]


def test_a_differential_leaves_out_what_is_no_cell() -> None:
    counts = dict.fromkeys(CELL_TYPES, 0) | {"monocyte": 3, "smudge_cell": 2, "not_a_cell": 9}
    differential = differential_of(tuple(counts.values()))
    assert differential.total == 3
    assert dict(differential.other) == {"smudge_cell": 2}
