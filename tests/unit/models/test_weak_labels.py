"""Cells of labelled fields and of boxed images, cut out of a drawn corpus."""

import csv
import hashlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from models.corpus import CROP_PX
from models.errors import CorpusError
from models.synthetic.fields import draw_field
from models.weak_labels import boxed_cells, field_cells, weak_cells


def _write(path: Path, pixels: np.ndarray) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), pixels[:, :, ::-1])
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    rows = []
    for i, (disease, split) in enumerate([("ALL", "train"), ("none", "train"), ("ALL", "test")]):
        kind = "lymphoblast" if disease == "ALL" else "segmented_neutrophil"
        drawn, _ = draw_field([kind] * 5, np.random.default_rng(i), um_per_px=0.4, shape=(224, 224))
        digest = _write(tmp_path / f"fields/taleqani/{i}.png", drawn)
        rows.append((f"fields/taleqani/{i}.png", "taleqani", "field", disease, f"g{i}", split, "", digest))
    with (tmp_path / "manifest.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(("file", "source", "cell_type", "disease", "group", "split", "origin_path", "sha256"))
        writer.writerows(rows)
    for name in ("a", "b", "c", "d", "e", "f"):
        field, _ = draw_field(["lymphocyte"], np.random.default_rng(9), um_per_px=0.2, shape=(200, 200))
        _write(tmp_path / f"detection/txl-pbc/images/{name}.png", field)
        labels = tmp_path / f"detection/txl-pbc/labels/{name}.txt"
        labels.parent.mkdir(parents=True, exist_ok=True)
        labels.write_text("0 0.5 0.5 0.3 0.3\n1 0.2 0.2 0.19 0.19\n2 0.8 0.8 0.05 0.05\n")
    return tmp_path


def test_cells_of_a_field_are_given_what_the_field_allows(corpus: Path) -> None:
    records, crops = field_cells(corpus, "train")
    assert crops.shape == (len(records), CROP_PX, CROP_PX, 3)
    assert {r.group for r in records} == {"g0", "g1"}
    for record in records:
        if record.disease == "ALL":
            assert record.allowed in (("lymphoblast",), ("lymphoblast", "lymphocyte"))
        else:
            assert not {"lymphoblast", "myeloblast"} & set(record.allowed)
    assert len(field_cells(corpus, "test")[0]) > 0


def test_boxes_of_half_the_images_are_taken(corpus: Path) -> None:
    records, crops = boxed_cells(corpus)
    images = {r.path.name for r in records}
    assert 0 < len(images) < 6
    assert {r.source_label for r in records} == {"box_white", "box_red", "box_platelet"}
    assert len(records) == 3 * len(images) == len(crops)
    red = next(r for r in records if r.source_label == "box_red")
    assert red.allowed == ("not_a_cell",)


def test_a_corpus_without_fields_or_boxes_has_no_weak_cells(tmp_path: Path) -> None:
    assert weak_cells(tmp_path) == []


def test_an_unreadable_field_is_named(corpus: Path) -> None:
    (corpus / "fields/taleqani/1.png").write_bytes(b"no image")
    with pytest.raises(CorpusError, match=r"1\.png cannot be read"):
        field_cells(corpus, "train")
