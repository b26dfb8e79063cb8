"""The manifest's reader: merged labels, whole groups, and plain words about what is wrong."""

import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from models.corpus import audit, label_matrix, load_crops, read_corpus, with_validation
from models.errors import CorpusError
from models.labels import CELL_TYPES
from models.synthetic.cells import draw_cell
from tests.fakes.corpus import write_corpus


def test_labels_are_merged_and_left_out(tmp_path: Path) -> None:
    write_corpus(
        tmp_path,
        [
            ("hopkins", "promonocyte", "AML", "p1", "train"),
            ("hopkins", "plasma_cell", "AML", "p1", "train"),
            ("lisc", "neutrophil", "none", "l1", "train"),
            ("lyon", "tumoral_lymphocyte", "lymphoproliferative", "P1", "test"),
        ],
    )
    records = read_corpus(tmp_path)
    assert [r.allowed for r in records] == [
        ("myeloblast",), ("segmented_neutrophil", "band_neutrophil"), ("cll_lymphocyte",),
    ]  # fmt: skip
    matrix = label_matrix(records)
    assert matrix.sum(axis=1).tolist() == [1, 2, 1]
    assert matrix[0, CELL_TYPES.index("myeloblast")]


def test_crops_are_rgb_and_in_order(tmp_path: Path) -> None:
    write_corpus(tmp_path, [("barcelona", "eosinophil", "none", "b1", "train")])
    crops = load_crops(read_corpus(tmp_path), verify=True)
    assert np.array_equal(crops[0], draw_cell("eosinophil", np.random.default_rng(0)))


def test_an_unknown_label_is_an_error_not_a_default(tmp_path: Path) -> None:
    write_corpus(tmp_path, [("new", "hairy_cell", "none", "g", "train")])
    with pytest.raises(CorpusError, match="hairy_cell"):
        read_corpus(tmp_path)


def test_absent_files_are_named(tmp_path: Path) -> None:
    write_corpus(tmp_path, [("lisc", "monocyte", "none", f"g{i}", "train") for i in range(2)])
    (tmp_path / "cells/lisc/0001.png").unlink()
    with pytest.raises(CorpusError, match=r"1 images .*/0001\.png"):
        read_corpus(tmp_path)


def test_altered_and_unreadable_images_are_named(tmp_path: Path) -> None:
    write_corpus(tmp_path, [("lisc", "monocyte", "none", "g", "train")])
    records = read_corpus(tmp_path)
    image = tmp_path / "cells/lisc/0000.png"
    image.write_bytes(image.read_bytes()[:500])
    with pytest.raises(CorpusError, match="not the image"):
        load_crops(records, verify=True)
    cv2.imwrite(str(image), np.zeros((50, 50, 3), np.uint8))
    with pytest.raises(CorpusError, match="160 x 160"):
        load_crops(records)


@pytest.mark.parametrize("text", ["", "file,source\ncells/a.png,x\n"])
def test_a_manifest_without_its_columns_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "manifest.csv").write_text(text)
    with pytest.raises(CorpusError, match="lacks the columns"):
        read_corpus(tmp_path)


def test_a_folder_without_a_manifest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"no manifest\.csv"):
        read_corpus(tmp_path)


def test_a_group_in_two_splits_fails_the_audit(tmp_path: Path) -> None:
    write_corpus(
        tmp_path,
        [
            ("lyon", "reactive_lymphocyte", "reactive", "P1", "train"),
            ("lisc", "lymphocyte", "none", "P1", "test"),
        ],
    )
    with pytest.raises(CorpusError, match="P1 in test and train"):
        audit(read_corpus(tmp_path))


def test_a_group_of_fields_in_two_splits_is_refused_on_reading(tmp_path: Path) -> None:
    folder = write_corpus(tmp_path, [("lisc", "monocyte", "none", "a", "train")])
    with (folder / "manifest.csv").open("a") as stream:
        for split in ("train", "test"):
            stream.write(f"fields/taleqani/{split}.jpg,taleqani,field,ALL,block-1,{split},,{split}\n")
    with pytest.raises(CorpusError, match="block-1 of taleqani"):
        read_corpus(folder)


def test_one_image_in_two_splits_fails_the_audit(tmp_path: Path) -> None:
    write_corpus(tmp_path, [("lisc", "basophil", "none", g, s) for g, s in (("a", "train"), ("b", "test"))])
    manifest = tmp_path / "manifest.csv"
    records = read_corpus(tmp_path)
    manifest.write_text(manifest.read_text().replace(records[1].sha256, records[0].sha256))
    with pytest.raises(CorpusError, match="sha256"):
        audit(read_corpus(tmp_path))


def test_a_type_without_training_images_fails_the_audit(tmp_path: Path) -> None:
    write_corpus(
        tmp_path, [("lisc", "basophil", "none", "a", "train"), ("lisc", "monocyte", "none", "b", "test")]
    )
    with pytest.raises(CorpusError, match="no training image of monocyte"):
        audit(read_corpus(tmp_path), required=["basophil", "monocyte"])


def test_validation_takes_whole_groups_out_of_train_only(tmp_path: Path) -> None:
    rows = [("hopkins", "blast", "AML", f"p{i}", "train") for i in range(10) for _ in range(2)]
    rows += [
        ("hopkins", "blast", "AML", "q", "test"),
        ("lyon", "reactive_lymphocyte", "reactive", "single", "train"),
    ]
    write_corpus(tmp_path, rows)
    records = with_validation(read_corpus(tmp_path), share=0.2)
    counts = audit(records)
    assert counts == {"train": 17, "validation": 4, "test": 1}
    assert {r.split for r in records if r.group == "single"} == {"train"}
    assert records == with_validation(read_corpus(tmp_path), share=0.2)


def test_the_real_corpus_does_not_leak() -> None:
    folder = Path(os.environ.get("LEUKOCDS_SMEARS", Path(__file__).parents[3].parent / "shared" / "smears"))
    if not (folder / "manifest.csv").is_file():
        pytest.skip(f"needs ../shared: no training images at {folder}")
    counts = audit(
        with_validation(read_corpus(folder)), required=[t for t in CELL_TYPES if t != "not_a_cell"]
    )
    assert set(counts) == {"train", "validation", "test"}
