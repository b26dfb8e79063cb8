"""`leukocds assess` with a reader that has no network; images, folders and the archive are real."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from PIL import Image

from cds.microscopy import to_dicom
from hooks.cli import cli
from hooks.demo.hospital import Hospital
from tests.fakes.drawn_smears import draw_smear
from tests.fakes.images import SERIES_UID, STUDY_UID, drawing, encoded
from tests.fakes.slides import synthetic_slide
from tests.fakes.smear_reader import FakeSmearReader
from tests.fakes.tiny_package import write_explaining_package, write_tiny_package

KEYS = ["pattern", "reason", "probabilities", "differential", "cells", "images", "model", "seconds"]
FIVE = ["healthy", "ALL", "AML", "CLL", "CML"]


@pytest.fixture
def reader(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeSmearReader:
    fake = FakeSmearReader()
    monkeypatch.setattr("models.reader.open_reader", lambda folder: fake)
    monkeypatch.setenv("LEUKOCDS_MODEL_PACKAGE", str(tmp_path))
    return fake


def assess(*arguments: object, **environ: str) -> Result:
    return CliRunner().invoke(cli, ["assess", *map(str, arguments)], env=environ)


def answer(result: Result) -> dict[str, Any]:
    """The one JSON object on stdout."""
    assert result.exit_code == 0, result.output
    assert result.stdout.count("\n") == 1
    content: dict[str, Any] = json.loads(result.stdout)
    assert list(content) == KEYS
    return content


def smear(folder: Path) -> Path:
    """Three pictures in three formats, one of them DICOM in a folder below."""
    (folder / "below").mkdir(parents=True)
    for number, kind in enumerate(("PNG", "TIFF"), start=1):
        (folder / f"{number}.{kind.lower()}").write_bytes(encoded(drawing(seed=number), kind))
    instance = to_dicom(
        encoded(drawing(seed=3)), study_uid=STUDY_UID, series_uid=SERIES_UID, patient_id="p", um_per_px=0.2
    )
    (folder / "below" / "IM0003").write_bytes(instance)
    return folder


def test_a_folder_is_one_study(reader: FakeSmearReader, tmp_path: Path) -> None:
    content = answer(assess("--json", smear(tmp_path / "smear")))
    assert content["pattern"] == "AML"
    assert content["reason"] is None
    assert list(content["probabilities"]) == FIVE
    assert sum(content["probabilities"].values()) == pytest.approx(1, abs=1e-3)
    assert content["differential"] == {"myeloblast": 150}
    assert content["cells"] == 150
    assert [image["file"] for image in content["images"]] == ["1.png", "2.tiff", "below/IM0003"]
    assert content["images"][0] == {"file": "1.png", "cells": 50, "quality": 0.9, "reason": None}
    assert content["model"] == {"name": "fake", "version": "0", "digest": "f" * 64}
    assert content["seconds"] >= 0
    assert reader.scales == [None, None, pytest.approx(0.2)]


def test_a_file_name_that_is_no_text_does_not_keep_the_answer_back(
    reader: FakeSmearReader, tmp_path: Path
) -> None:
    smear(tmp_path / "smear")
    (tmp_path / "smear" / "1.png").rename(tmp_path / "smear" / "caf\udce9.png")
    content = answer(assess("--json", tmp_path / "smear"))
    assert "caf\udce9.png" in [image["file"] for image in content["images"]]


def test_a_single_file_is_a_study_too(reader: FakeSmearReader, tmp_path: Path) -> None:
    smear(tmp_path / "smear")
    content = answer(assess("--json", tmp_path / "smear" / "1.png"))
    assert [image["file"] for image in content["images"]] == ["1.png"]


def test_the_scale_can_be_given(reader: FakeSmearReader, tmp_path: Path) -> None:
    assess(smear(tmp_path / "smear"), "--um-per-px", "0.105")
    assert reader.scales == [0.105] * 3


def test_broken_files_are_listed_with_their_reason_and_the_rest_is_read(
    reader: FakeSmearReader, tmp_path: Path
) -> None:
    folder = smear(tmp_path / "smear")
    (folder / "cut.jpg").write_bytes(encoded(drawing())[:900])
    (folder / "notes.txt").write_text("two slides, one stained twice")
    (folder / "empty.png").write_bytes(b"")
    (folder / ".hidden").write_text("left out")
    content = answer(assess("--json", folder))
    refused = {image["file"]: image["reason"] for image in content["images"] if image["reason"]}
    assert set(refused) == {"cut.jpg", "notes.txt", "empty.png"}
    assert all(len(reason) > 10 for reason in refused.values())
    assert content["pattern"] == "AML"
    assert content["cells"] == 150
    shown = assess(folder)
    assert shown.exit_code == 0
    assert "notes.txt" in shown.stdout


@pytest.mark.parametrize("content", [{}, {"a.png": b"no picture"}], ids=["empty", "nothing readable"])
def test_nothing_to_read_is_an_answer_with_a_reason(
    reader: FakeSmearReader, tmp_path: Path, content: dict[str, bytes]
) -> None:
    folder = tmp_path / "smear"
    folder.mkdir()
    for name, data in content.items():
        (folder / name).write_bytes(data)
    result = answer(assess("--json", folder))
    assert result["pattern"] == "not_analysed"
    assert result["reason"]
    assert result["probabilities"] is None
    assert (result["differential"], result["cells"]) == ({}, 0)
    assert [image["file"] for image in result["images"]] == list(content)
    assert "not analysed" in assess(folder).stdout


def test_the_tables_name_the_pattern_the_cells_and_the_model(reader: FakeSmearReader, tmp_path: Path) -> None:
    result = assess(smear(tmp_path / "smear"))
    assert result.exit_code == 0, result.output
    for text in ("AML", "Myeloblast", "150", "fake 0", "not a medical device"):
        assert text in result.stdout


def test_a_study_in_the_archive(reader: FakeSmearReader) -> None:
    with Hospital() as hospital:
        for seed in (1, 2):
            file = encoded(drawing(seed=seed))
            instance = to_dicom(
                file, study_uid=STUDY_UID, series_uid=SERIES_UID, patient_id="p", um_per_px=0.1
            )
            hospital.archive.add(instance)
        content = answer(assess("--json", STUDY_UID, LEUKOCDS_ARCHIVE_URL=hospital.archive_url))
        assert content["differential"] == {"myeloblast": 100}
        unknown = answer(assess("--json", "2.25.99", LEUKOCDS_ARCHIVE_URL=hospital.archive_url))
    assert unknown["pattern"] == "not_analysed"
    assert unknown["images"] == []


def test_an_archive_that_is_down_is_status_1_with_a_sentence(reader: FakeSmearReader) -> None:
    hospital = Hospital()
    hospital.stop()
    result = assess("--json", STUDY_UID, LEUKOCDS_ARCHIVE_URL=hospital.archive_url)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "image archive" in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["/no/such/folder"], "neither a file or folder that exists nor a DICOM study UID"),
        ([STUDY_UID], "LEUKOCDS_ARCHIVE_URL is not set"),
        ([STUDY_UID, "--um-per-px", "0.1"], "state their own scale"),
        (["."], "is not in the range"),
        (["."], "does not exist"),
        ([], "Missing argument"),
    ],
)
def test_wrong_use_is_status_2_with_a_sentence(
    reader: FakeSmearReader, arguments: list[str], sentence: str
) -> None:
    extra = {"is not in the range": ["--um-per-px", "0"], "does not exist": ["--model", "/no/model"]}
    result = assess(*arguments, *extra.get(sentence, []))
    assert (result.exit_code, result.stdout) == (2, "")
    assert sentence in result.stderr


def test_a_folder_that_is_no_model_package_is_status_1(tmp_path: Path) -> None:
    smear(tmp_path / "smear")
    result = assess(tmp_path / "smear", "--model", tmp_path)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "card.json" in result.stderr


def test_the_cells_that_carry_the_finding_can_be_explained(tmp_path: Path) -> None:
    package = write_explaining_package(tmp_path / "package")
    (tmp_path / "smear").mkdir()
    for seed in range(12):
        pixels = draw_smear(
            shape=(220, 220), um_per_px=0.15, nuclei=[(16.5, 16.5, 3.5)], red_cells=6, seed=seed
        )
        Image.fromarray(pixels).save(tmp_path / "smear" / f"{seed:02}.png")
    arguments = [tmp_path / "smear", "--um-per-px", "0.15", "--model", package, "--explain", tmp_path / "why"]
    result = assess("--json", *arguments)
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["differential"] == {"lymphocyte": 12}
    assert "12 cells explained" in result.stderr
    pictures = sorted((tmp_path / "why").iterdir())
    assert len(pictures) == 12
    assert pictures[0].name.startswith("01-lymphocyte-")
    Image.open(pictures[0]).verify()


def test_a_package_that_cannot_explain_itself_says_so(tmp_path: Path) -> None:
    package = write_tiny_package(tmp_path / "package")
    pixels = draw_smear(shape=(220, 220), um_per_px=0.15, nuclei=[(16.5, 16.5, 3.5)], red_cells=6, seed=1)
    (tmp_path / "smear").mkdir()
    for seed in range(12):
        Image.fromarray(pixels).save(tmp_path / "smear" / f"{seed}.png")
    result = assess(
        tmp_path / "smear", "--um-per-px", "0.15", "--model", package, "--explain", tmp_path / "why"
    )
    assert result.exit_code == 1
    assert "activation" in result.stderr
    (tmp_path / "file").write_text("")
    explaining = write_explaining_package(tmp_path / "explaining")
    result = assess(tmp_path / "smear", "--model", explaining, "--explain", tmp_path / "file" / "below")
    assert result.exit_code == 1
    assert "Could not open file" in result.stderr


def test_the_files_of_a_slide_are_read_as_one_slide(reader: FakeSmearReader, tmp_path: Path) -> None:
    """Its fields with cells, not the same cells again at every resolution."""
    slide = synthetic_slide(16, seed=2)
    folder = smear(tmp_path / "smear")
    (folder / "slide").mkdir()
    for number, instance in enumerate(slide.instances):
        (folder / "slide" / f"level{number}.dcm").write_bytes(instance)
    files = [image["file"] for image in answer(assess("--json", folder))["images"]]
    assert files[:3] == ["1.png", "2.tiff", "below/IM0003"]
    assert {file.partition("#")[0] for file in files[3:]} == {"slide/level0.dcm"}
    assert {slide.place(file) for file in files[3:]} >= slide.cells
    with_scale = [i["file"] for i in answer(assess("--json", "--um-per-px", "0.25", folder))["images"]]
    assert "slide/level2.dcm" in {file.partition("#")[0] for file in with_scale}
