import csv
import json

import cv2
import numpy as np
import pytest

from models.detection import WHITE, Box, Field, draw_fields, halves, main, match, read_fields
from models.errors import CorpusError
from models.finding import FoundCell, find_candidates
from models.scale import measure_red_cells, study_scale
from tests.fakes.drawn_smears import draw_smear


def cell(row, column):
    return FoundCell(row=row, column=column, area_um2=60.0, signal=0.4)


def box(top, left, side=20.0, kind=0):
    return Box(kind, top, left, top + side, left + side)


def write(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels[..., ::-1])


@pytest.fixture
def folder(tmp_path):
    """Fields of two laboratories with a cell in the middle and one that the border cuts, and what else is measured."""
    um = 0.1
    for number in range(4):
        for laboratory, shape in (("bccd", (500, 560)), ("raabin", (520, 520))):
            nuclei = [(25, 25, 4.0), (1.0, 40, 4.0)]
            pixels = draw_smear(shape=shape, um_per_px=um, nuclei=nuclei, seed=number)
            name = f"{laboratory}-{number}"
            write(tmp_path / "detection/txl-pbc/images" / f"{name}.png", pixels)
            rows, columns = shape
            labels = [
                f"0 {250 / columns} {250 / rows} {110 / columns} {110 / rows}",
                f"0 {400 / columns} {30 / rows} {110 / columns} {60 / rows}",
                f"1 0.8 0.8 {78 / columns} {78 / rows}",
            ]
            path = tmp_path / "detection/txl-pbc/labels" / f"{name}.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("\n".join(labels) + "\n")
    rows = []
    for number, off_um in enumerate((0.0, 3.0, 6.0)):
        file = f"cells/barcelona/lymphocyte/{number}.png"
        middle = 160 * 0.167 / 2
        nuclei = [(middle + off_um, middle, 3.5)]
        write(tmp_path / file, draw_smear(shape=(160, 160), um_per_px=0.167, nuclei=nuclei, seed=number))
        rows.append((file, "barcelona", "lymphocyte", "none", f"b{number}", "train", f"{number}"))
    file = "fields/taleqani/ALL/0.png"
    write(tmp_path / file, draw_smear(shape=(224, 224), um_per_px=0.4, nuclei=[(40, 40, 5)]))
    rows.append((file, "taleqani", "", "ALL", "t0", "train", "9"))
    write(
        tmp_path / "originals/fields/lab/0.png",
        draw_smear(shape=(500, 500), um_per_px=0.1, nuclei=[(25, 25, 4)]),
    )
    write(
        tmp_path / "originals/hopkins/h1/0.png",
        draw_smear(shape=(360, 360), um_per_px=0.105, nuclei=[(19, 19, 4)]),
    )
    with (tmp_path / "manifest.csv").open("w", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(("file", "source", "cell_type", "disease", "group", "split", "sha256"))
        table.writerows(rows)
    return tmp_path


def test_a_box_takes_one_cell_and_a_cell_one_box():
    assert match([cell(10, 10), cell(12, 12)], [box(0, 0)]) == [0]
    assert match([cell(15, 15)], [box(0, 0), box(6, 6)]) == [1]
    assert sorted(match([cell(8, 8), cell(18, 18)], [box(0, 0), box(6, 6)])) == [0, 1]
    assert match([cell(30, 30)], [box(0, 0)]) == []


def test_a_box_at_the_border_is_of_a_cell_that_is_cut():
    assert box(0.5, 40).cut((100, 100, 3))
    assert box(40, 79.5).cut((100, 100, 3))
    assert not box(40, 40).cut((100, 100, 3))


def test_the_halves_are_the_same_each_time_and_share_no_field():
    fields = [Field(f"{n}.png", np.zeros((4, 4, 3), np.uint8), ()) for n in range(11)]
    tuning, held_out = halves(fields)
    again, _ = halves(fields[::-1])
    assert [f.name for f in tuning] == [f.name for f in again]
    assert {f.name for f in tuning} | {f.name for f in held_out} == {f.name for f in fields}
    assert (len(tuning), len(held_out)) == (6, 5)


def test_the_command_writes_what_it_measured(folder, capsys):
    out = folder / "figures.json"
    assert main(["--data", str(folder), "--out", str(out), "--drawings", str(folder / "drawn")]) == 0
    report = json.loads(out.read_text())
    assert set(report) == {"command", "figures", "notes"}
    figures = {name: figure["value"] for name, figure in report["figures"].items()}
    for laboratory in ("bccd", "raabin"):
        for half in ("tuning", "held_out"):
            assert figures[f"fields/{laboratory}/{half}/precision"] == 1
            assert figures[f"fields/{laboratory}/{half}/recall"] == 1
            assert figures[f"fields/{laboratory}/{half}/recall_with_cut_boxes"] == 0.5
            assert figures[f"fields/{laboratory}/{half}/recall_set_aside_counted"] == 1
        assert abs(figures[f"fields/{laboratory}/scale_error"]) < 0.1
    # Of three cells one lies in the middle and one 3 um away, where an imager's cell may lie.
    assert figures["cells/barcelona/centred"] == pytest.approx(1 / 3, abs=1e-4)
    assert figures["cells/barcelona/centred_within_4_um"] == pytest.approx(2 / 3, abs=1e-4)
    assert abs(figures["scale/originals/hopkins/h1/scale_error"]) < 0.1
    assert abs(figures["scale/taleqani/ALL/scale_error"]) < 0.15
    assert "fields/bccd/held_out/recall" in capsys.readouterr().out
    drawn = cv2.imread(str(folder / "drawn" / "lab-00.png"))
    assert np.any(np.all(drawn == (0, 200, 0), axis=2))


def test_what_cannot_be_measured_is_said(folder, tmp_path, capsys):
    assert main(["--data", str(folder / "nowhere")]) == 1
    assert "no images in" in capsys.readouterr().err
    label = next((folder / "detection/txl-pbc/labels").glob("*.txt"))
    label.write_text("0 0.5 0.5 0.1\n")
    with pytest.raises(CorpusError, match="line 1: not a kind and four numbers"):
        read_fields(folder / "detection/txl-pbc")
    label.unlink()
    with pytest.raises(CorpusError, match="no labels for that image"):
        read_fields(folder / "detection/txl-pbc")
    (folder / "manifest.csv").unlink()
    with pytest.raises(CorpusError, match=r"no manifest\.csv"):
        draw_fields(folder, folder / "drawn")


def test_an_image_that_is_none_is_said(folder):
    image = next((folder / "detection/txl-pbc/images").glob("*.png"))
    image.write_bytes(b"no image")
    with pytest.raises(CorpusError, match="cannot be read as an image"):
        read_fields(folder / "detection/txl-pbc")


def test_white_cells_of_real_fields_are_found_and_little_else(smears):
    fields = read_fields(smears / "detection" / "txl-pbc")
    found = right = whole = whole_right = 0
    for laboratory in ("bccd", "raabin"):
        tuning, _ = halves([f for f in fields if f.laboratory == laboratory])
        some = tuning[:12]
        um_per_px = study_scale([m for f in some if (m := measure_red_cells(f.pixels)) is not None])
        assert um_per_px is not None
        for field in some:
            cells = find_candidates(field.pixels, um_per_px).whole
            white = [b for b in field.boxes if b.kind == WHITE]
            taken = match(cells, white)
            found, right = found + len(cells), right + len(taken)
            whole += sum(not b.cut(field.pixels.shape) for b in white)
            whole_right += sum(not white[b].cut(field.pixels.shape) for b in taken)
    assert whole >= 15
    assert right >= 0.9 * found
    assert whole_right >= 0.95 * whole
