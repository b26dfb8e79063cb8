"""The exported folder is one that the corpus reader accepts."""

import csv
from pathlib import Path

import numpy as np
import pytest

from cds.deidentify import Pseudonyms
from cds.errors import BadRequest
from cds.image_files import PixelLimits
from cds.microscopy import to_dicom
from cds.pixels import instance_ref
from cds.slide import Slide, Subject
from models.corpus import audit, load_crops, read_corpus
from models.training_export import CellLabel, Exported, StudyLabels, export
from tests.fakes.images import drawing, encoded

KEY = bytes(range(32))


def instance(patient: str, seed: int, study: str = "2.25.7") -> tuple[str, bytes]:
    data = to_dicom(
        encoded(drawing(400, 400, seed=seed)), study_uid=study, series_uid="2.25.8",
        subject=Subject(patient_id=patient), slide=Slide(accession_number="A-1", um_per_px=0.167),
    )  # fmt: skip
    return f"{patient}-{seed}", data


def exported(
    folder: Path, files: list[tuple[str, bytes]], labels: StudyLabels | None = None, **more: bool
) -> Exported:
    said = labels or StudyLabels()
    return export(
        files,
        folder,
        source="lab",
        pseudonyms=Pseudonyms(KEY),
        labels=lambda _: said,
        limits=PixelLimits(),
        **more,
    )


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "manifest.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_a_patient_stands_in_one_split_and_no_name_in_any_path(tmp_path: Path) -> None:
    files = [instance(f"MRN-{n}", seed) for n in range(24) for seed in (n, n + 100)]
    done = exported(tmp_path, files, StudyLabels(disease="AML"))
    assert (done.images, done.refused) == (48, ())
    manifest = rows(tmp_path)
    assert len({row["group"] for row in manifest}) == 24
    assert all(len({r["split"] for r in manifest if r["group"] == row["group"]}) == 1 for row in manifest)
    assert {row["split"] for row in manifest} == {"train", "test"}
    assert {row["disease"] for row in manifest} == {"AML"}
    for path in tmp_path.rglob("*"):
        assert "MRN" not in path.name
        assert path.is_dir() or b"MRN" not in path.read_bytes()
    assert read_corpus(tmp_path) == []  # no single cells yet


def test_labelled_cells_become_crops_that_the_corpus_reads(tmp_path: Path) -> None:

    name, data = instance("MRN-1", 5)
    uid = instance_ref(data).sop_instance_uid
    cells = (
        CellLabel(sop_instance_uid=uid, row=200, column=200, cell_type="blast"),
        CellLabel(sop_instance_uid=uid, row=120, column=220, cell_type="neutrophil"),
        CellLabel(sop_instance_uid="2.25.99", row=1, column=1, cell_type="blast"),
    )
    done = exported(tmp_path, [(name, data)], StudyLabels(cells=cells))
    assert (done.images, done.cells) == (1, 2)
    records = read_corpus(tmp_path)
    assert sorted(r.source_label for r in records) == ["blast", "neutrophil"]
    assert sum(audit(records).values()) == 2
    crops = load_crops(records, verify=True)
    assert crops.shape == (2, 160, 160, 3)
    (blast,) = [c for c, r in zip(crops, records, strict=True) if r.source_label == "blast"]
    assert (
        np.abs(blast.mean(axis=(0, 1)) - drawing(400, 400, seed=5)[120:280, 120:280].mean(axis=(0, 1))).max()
        < 3
    )


def test_a_second_export_adds_and_repeats_nothing(tmp_path: Path) -> None:
    exported(tmp_path, [instance("MRN-1", 1)])
    exported(tmp_path, [instance("MRN-1", 1), instance("MRN-2", 2)])
    assert len(rows(tmp_path)) == 2


def test_what_is_refused_is_told_and_the_rest_written(tmp_path: Path) -> None:
    done = exported(tmp_path, [("zip.dcm", b"PK\x03\x04"), instance("MRN-1", 1)])
    assert (done.images, [r.source for r in done.refused]) == (1, ["zip.dcm"])


def test_unlabelled_studies_can_be_left_out(tmp_path: Path) -> None:
    assert exported(tmp_path, [instance("MRN-1", 1)], labelled_only=True).images == 0


def test_another_s_manifest_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "manifest.csv").write_text("a,b\n1,2\n")
    with pytest.raises(BadRequest, match="no manifest of an export"):
        exported(tmp_path, [instance("MRN-1", 1)])


def test_labels_that_the_corpus_would_not_know_are_none() -> None:
    with pytest.raises(ValueError, match="cell type"):
        CellLabel(sop_instance_uid="2.25.1", row=1, column=1, cell_type="blob")
    with pytest.raises(ValueError, match="disease"):
        StudyLabels(disease="../x")
