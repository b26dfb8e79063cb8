"""The bundled package on real smears: what a hospital's cell imager, camera and slide scanner would send.

The images stay where they are (`smears` fixture); nothing of them is part of the project. Every patient here belongs to
the corpus's training split (some were taken out for validation): these tests guard the way, they measure no accuracy.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from cds.image_files import PixelLimits
from cds.interpret import interpret
from cds.pixels import decode_file
from cds.values import (
    Finding,
    NotAnalysed,
    NotAnalysedReason,
    Pattern,
    RefusedImage,
    SmearImage,
    SmearReading,
)
from models.finding import find_cells
from models.package import bundled_package
from models.reader import PackageReader, open_reader
from models.scale import measure_red_cells, study_scale


@pytest.fixture(scope="module")
def reader(smears: Path) -> PackageReader:
    return open_reader(bundled_package())


def study(folder: Path, um_per_px: float | None = None) -> Iterator[SmearImage | RefusedImage]:
    for path in sorted(folder.iterdir()):
        yield from decode_file(path, PixelLimits(), um_per_px=um_per_px)


def read(reader: PackageReader, folder: Path, um_per_px: float | None = None) -> tuple[Finding, SmearReading]:
    reading = reader.read(study(folder, um_per_px))
    found = interpret(reading, reader.pattern_model)
    assert isinstance(found, Finding), found
    return found, reading


@pytest.mark.parametrize("patient", ["hopkins-08", "hopkins-46"])
def test_two_patients_with_aml_have_the_aml_pattern(reader, smears, patient):
    found, _ = read(reader, smears / "originals" / "hopkins" / patient)
    assert found.pattern is Pattern.AML, found.evidence
    assert found.differential.fraction("myeloblast", "lymphoblast", "promyelocyte") > 0.3


def test_a_patient_with_few_blasts_is_not_called_ill(reader, smears):
    found, _ = read(reader, smears / "originals" / "hopkins" / "hopkins-07")
    assert found.pattern in (Pattern.INDETERMINATE, Pattern.HEALTHY), found.evidence


def test_healthy_donors_are_healthy(reader, smears):
    found, _ = read(reader, smears / "originals" / "barcelona" / "healthy-mix")
    assert found.pattern is Pattern.HEALTHY, found.evidence


@pytest.mark.parametrize("patient", ["lyon-P15", "lyon-P37"])
def test_tumoral_lymphocytosis_has_the_cll_pattern(reader, smears, patient):
    found, _ = read(reader, smears / "originals" / "lyon" / patient)
    assert found.pattern is Pattern.CLL, found.evidence


def test_reactive_lymphocytosis_is_no_leukemia(reader, smears):
    found, _ = read(reader, smears / "originals" / "lyon" / "lyon-P3")
    assert found.pattern in (Pattern.INDETERMINATE, Pattern.HEALTHY), found.evidence


@pytest.mark.parametrize(
    ("folder", "um_per_px"),
    [
        ("hopkins/hopkins-08", 0.105), ("hopkins/hopkins-46", 0.105), ("lyon/lyon-P3", 0.167),
        ("lyon/lyon-P15", 0.167), ("barcelona/healthy-mix", 0.105),
    ],
)  # fmt: skip
def test_the_scale_is_estimated_within_a_fifth_and_each_cell_found_once(reader, smears, folder, um_per_px):
    images = list(study(smears / "originals" / folder))
    reading = reader.read(images)
    for image in reading.images:
        assert image.scale_origin == "estimated"
        assert image.um_per_px == pytest.approx(um_per_px, rel=0.2)
    found_once = sum(image.cells <= 1 for image in reading.images)
    assert found_once >= 0.97 * len(images)
    assert sum(image.cells == 1 for image in reading.images) >= 0.85 * len(images)


def test_crops_three_red_cells_wide_still_tell_their_scale_roughly(reader, smears):
    # Only the smaller red cells lie whole in so small an image.
    images = list(study(smears / "originals" / "allidb2"))
    reading = reader.read(images)
    assert {image.scale_origin for image in reading.images} == {"estimated"}
    assert reading.images[0].um_per_px == pytest.approx(0.094, rel=0.3)
    assert sum(image.cells == 1 for image in reading.images) >= 0.85 * len(images)


@pytest.mark.parametrize("um_per_px", [None, 0.25, 0.5])
def test_a_tissue_section_is_refused_whatever_its_scale_is_said_to_be(reader, smears, um_per_px):
    reading = reader.read(study(smears / "dicom", um_per_px))
    assert reading.not_analysed is not None
    assert reading.not_analysed.reason in (
        NotAnalysedReason.POOR_QUALITY,
        NotAnalysedReason.OUT_OF_DISTRIBUTION,
    )


def test_white_cells_of_whole_fields_are_found(reader, smears):
    """At least nine in ten of the expert's boxes, and nine in ten finds in a box."""
    folder = smears / "detection" / "txl-pbc"
    hit = found_all = boxes_all = 0
    by_camera: dict[tuple[int, ...], list[tuple[Path, SmearImage]]] = {}
    for path in sorted((folder / "images").iterdir()):
        (image,) = decode_file(path, PixelLimits())
        assert isinstance(image, SmearImage)
        by_camera.setdefault(image.pixels.shape, []).append((path, image))
    for (height, width, _), images in by_camera.items():
        measured = [m for _, image in images if (m := measure_red_cells(image.pixels))]
        scale = study_scale(measured)
        assert scale is not None
        for path, image in images:
            lines = (folder / "labels" / f"{path.stem}.txt").read_text().splitlines()
            boxes = [[float(v) for v in line.split()[1:]] for line in lines if line.startswith("0 ")]
            # Cells cut by the border are set aside on purpose: neither asked for nor held against the finder.
            whole = [b for b in boxes if _inside(b, width, height)]
            cells = find_cells(image.pixels, scale).cells
            inside = [
                b for b in whole
                if any(abs(c.column / width - b[0]) < b[2] / 2 and abs(c.row / height - b[1]) < b[3] / 2 for c in cells)
            ]  # fmt: skip
            hit += len(inside)
            boxes_all += len(whole)
            found_all += len(cells) - sum(_hits(b, cells, width, height) for b in boxes if b not in whole)
    assert hit / boxes_all >= 0.9, "recall"
    assert hit / found_all >= 0.9, "precision"


def _inside(box, width, height):
    x, y, w, h = box
    margin_x, margin_y = 4 / width, 4 / height
    return (
        x - w / 2 > margin_x
        and y - h / 2 > margin_y
        and x + w / 2 < 1 - margin_x
        and y + h / 2 < 1 - margin_y
    )


def _hits(box, cells, width, height):
    x, y, w, h = box
    return any(abs(c.column / width - x) < w / 2 and abs(c.row / height - y) < h / 2 for c in cells)


def test_fields_of_healthy_blood_yield_their_few_cells(reader, smears):
    outcome = interpret(
        reader.read(study(smears / "originals" / "fields" / "allidb1-healthy")), reader.pattern_model
    )
    if isinstance(outcome, NotAnalysed):
        assert outcome.reason in (NotAnalysedReason.TOO_FEW_CELLS, NotAnalysedReason.OUT_OF_DISTRIBUTION)
    else:
        assert outcome.pattern in (Pattern.HEALTHY, Pattern.INDETERMINATE)
