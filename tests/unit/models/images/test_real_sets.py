import csv
from collections import Counter
from pathlib import Path

import pytest

from models.images.image_set import read_image_set
from models.images.kinds import ImageSetError
from models.images.real_sets import write_allidb2, write_apl, write_drawn, write_four_classes

COLUMNS = ("file", "source", "cell_type", "disease", "group", "split")


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    rows = [
        *(
            (f"images/Im{k:03d}_{k % 2}.jpg", "allidb2", "image", ("none", "ALL")[k % 2], f"a{k}", "train")
            for k in range(4)
        ),
        *((f"cells/h{k}.jpg", "hopkins", "blast", "AML", "h1", "train") for k in range(20)),
        ("cells/h-lymph.jpg", "hopkins", "lymphocyte", "AML", "h1", "train"),
        ("cells/h-pro.jpg", "hopkins", "promyelocyte", "APL", "h2", "test"),
        ("cells/b.jpg", "barcelona", "monocyte", "none", "b1", "train"),
        ("cells/l1.jpg", "lyon", "tumoral_lymphocyte", "lymphoproliferative", "l1", "train"),
        ("cells/l2.jpg", "lyon", "reactive_lymphocyte", "reactive", "l2", "train"),
        ("fields/t.jpg", "taleqani", "field", "ALL", "t1", "test"),
        ("cells/c.jpg", "cellavision_blog", "monocyte", "none", "c", "test"),
        ("cells/s.jpg", "lisc", "monocyte", "none", "s", "train"),
    ]  # fmt: skip
    folder = tmp_path / "corpus"
    folder.mkdir()
    with (folder / "manifest.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([COLUMNS, *rows])
    return folder


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "manifest.csv").open() as stream:
        return list(csv.DictReader(stream))


def test_allidb2_is_labelled_by_its_names(corpus: Path, tmp_path: Path) -> None:
    rows = rows_of(write_allidb2(corpus, tmp_path / "set"))
    assert [(Path(r["file"]).name, r["label"]) for r in rows] == [
        ("Im000_0.jpg", "healthy"), ("Im001_1.jpg", "ALL"), ("Im002_0.jpg", "healthy"), ("Im003_1.jpg", "ALL"),
    ]  # fmt: skip
    assert all(Path(r["file"]).is_relative_to(corpus.resolve()) for r in rows)


def test_four_classes_take_leukemic_cells_only_and_few_a_patient(corpus: Path, tmp_path: Path) -> None:
    rows = rows_of(write_four_classes(corpus, tmp_path / "set"))
    assert Counter((r["label"], r["group"]) for r in rows) == {
        ("AML", "h1"): 6, ("AML", "h2"): 1, ("healthy", "b1"): 1, ("CLL", "l1"): 1, ("healthy", "l2"): 1,
        ("ALL", "t1"): 1,
    }  # fmt: skip
    assert "h-lymph.jpg" not in {Path(r["file"]).name for r in rows}


def test_apl_stands_against_other_aml_by_patient(corpus: Path, tmp_path: Path) -> None:
    rows = rows_of(write_apl(corpus, tmp_path / "set"))
    assert Counter((r["subtype"], r["group"], r["split"]) for r in rows) == {
        ("other AML", "h1", "train"): 20, ("APL", "h2", "test"): 1,
    }  # fmt: skip


def test_drawn_images_are_a_set_of_five_classes(tmp_path: Path) -> None:
    found = read_image_set(write_drawn(tmp_path / "drawn", patients=1, images=1))
    assert found.labels == ("healthy", "ALL", "AML", "CLL", "CML")
    assert len({i.group for i in found.images}) == 5
    assert not any(Path(i.name).is_absolute() for i in found.images)


def test_another_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageSetError, match="cannot be read"):
        write_apl(tmp_path, tmp_path / "set")
    (tmp_path / "manifest.csv").write_text("file,label\n")
    with pytest.raises(ImageSetError, match="lacks the columns cell_type"):
        write_apl(tmp_path, tmp_path / "set")
