from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from models.images.image_set import read_image_set
from models.images.kinds import ImageSetError


def put(path: Path, shade: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (9, 9), (shade, 90, 120)).save(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for k in range(3):
        put(tmp_path / "Normal" / f"n{k}.png", k)
        put(tmp_path / "AML" / "patient1" / f"a{k}.jpg", 100 + 20 * k)
    return tmp_path


def refused(folder: Path, **options: object) -> str:
    with pytest.raises(ImageSetError) as caught:
        read_image_set(folder, **options)  # type: ignore[arg-type]
    return str(caught.value)


def test_a_folder_for_each_class(folder: Path) -> None:
    (folder / "AML" / "notes.txt").write_text("no image")
    put(folder / ".cache" / "thumb.png", 1)
    found = read_image_set(folder)
    assert found.labels == ("healthy", "AML")
    assert Counter(i.label for i in found.images) == {"healthy": 3, "AML": 3}
    assert all(i.group is None and i.split is None for i in found.images)
    assert found.images[0].name == "AML/patient1/a0.jpg"


def test_folders_named_train_and_test_are_the_sets_own_split(tmp_path: Path) -> None:
    shade = 0
    for split in ("train", "test"):
        for label in ("ALL", "healthy"):
            put(tmp_path / split / label / "x.png", shade := shade + 40)
    found = read_image_set(tmp_path)
    assert {(i.split, i.label) for i in found.images} == {
        (s, label) for s in ("train", "test") for label in ("ALL", "healthy")
    }


def test_allidb_names(image_folder: Path) -> None:
    found = read_image_set(image_folder)
    assert found.labels == ("healthy", "ALL")
    assert {i.label for i in found.images if i.name.endswith("_1.png")} == {"ALL"}
    assert {i.group for i in found.images} == {f"p{label}-{k}" for label in (0, 1) for k in range(6)}


def test_free_classes_are_the_folders_as_they_stand(tmp_path: Path) -> None:
    put(tmp_path / "early" / "1.png", 1)
    put(tmp_path / "Pre" / "1.png", 90)
    assert "early/1.png" in refused(tmp_path) or "Pre/1.png" in refused(tmp_path)
    assert read_image_set(tmp_path, free_classes=True).labels == ("Pre", "early")


def test_subtypes_come_from_folders(tmp_path: Path) -> None:
    put(tmp_path / "AML" / "M3" / "1.png", 1)
    put(tmp_path / "ALL" / "L1" / "1.png", 60)
    put(tmp_path / "healthy" / "1.png", 120)
    assert read_image_set(tmp_path, subtypes=True).labels == ("healthy", "L1", "APL")
    put(tmp_path / "AML" / "unsorted" / "1.png", 200)
    assert "AML/unsorted/1.png has no subtype" in refused(tmp_path, subtypes=True)


def manifest(folder: Path, *rows: str, header: str = "file,label,group,split") -> Path:
    path = folder / "manifest.csv"
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def test_a_manifest_gives_label_group_and_split(folder: Path) -> None:
    manifest(folder, "Normal/n0.png,none,p1,train", "AML/patient1/a0.jpg,aml,p2,test")
    found = read_image_set(folder)
    assert [(i.name, i.label, i.group, i.split) for i in found.images] == [
        ("AML/patient1/a0.jpg", "AML", "p2", "test"),
        ("Normal/n0.png", "healthy", "p1", "train"),
    ]


def test_a_manifest_elsewhere_lists_more_than_the_folder(folder: Path, tmp_path: Path) -> None:
    path = manifest(
        folder,
        "Normal/n0.png,,p1,",
        "AML/patient1/a0.jpg,,p2,",
        "AML/patient1/a1.jpg,,p3,",
        "elsewhere.png,AML,p4,",
    )
    assert "labelled AML" in refused(folder / "AML", manifest=path)
    put(folder / "AML" / "x" / "healthy" / "a.png", 7)
    assert "mislabelled" in refused_row(folder, path, "AML/x/healthy/a.png,,p5,")


def refused_row(folder: Path, path: Path, row: str) -> str:
    path.write_text("file,label,group,split\nNormal/n0.png,,p1,\n" + row + "\n")
    return refused(folder)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (["Normal/n0.png,healthy,p1,train", "Normal/gone.png,healthy,p1,train"], "1 files of .* are missing"),
        (
            ["Normal/n0.png,healthy,p1,train", "AML/patient1/a0.jpg,AML,p1,test"],
            "the group p1 stands in two splits",
        ),
        (["Normal/n0.png,healthy,p1,train", "AML/patient1/a0.jpg,AML,,train"], "1 images have no group"),
        (["Normal/n0.png,healthy,p1,train", "AML/patient1/a0.jpg,AML,p2,"], "1 images are in no split"),
        (["Normal/n0.png,healthy,p1,dev"], "split must be one of train, validation, test"),
        (["Normal/n0.png,sickle,p1,train"], "'sickle' is no class known here"),
        (["Normal/n0.png,healthy,p1,train", "Normal/n0.png,healthy,p1,train"], "2 times"),
        (["Normal/n0.png,healthy,p1,train", "Normal/n1.png,healthy,p1,train"], "nothing to tell apart"),
    ],
)
def test_a_manifest_that_cannot_be_right_is_refused(folder: Path, rows: list[str], said: str) -> None:
    manifest(folder, *rows)
    with pytest.raises(ImageSetError, match=said):
        read_image_set(folder)


def test_a_table_that_contradicts_an_allidb_name_is_refused(image_folder: Path) -> None:
    (image_folder / "groups.csv").unlink()
    manifest(image_folder, "Im001_1.png,healthy,p1,", "Im001_0.png,healthy,p2,")
    assert "Im001_1.png is mislabelled: the table says healthy" in refused(image_folder)


def test_a_folder_that_contradicts_an_allidb_name_is_refused(tmp_path: Path) -> None:
    put(tmp_path / "healthy" / "Im001_1.png", 3)
    put(tmp_path / "healthy" / "Im002_7.png", 90)
    assert "Im001_1.png is mislabelled" in refused(tmp_path)
    (tmp_path / "healthy" / "Im001_1.png").unlink()
    assert "_0 or _1 is known" in refused(tmp_path)


def test_one_picture_with_two_labels_is_refused(folder: Path) -> None:
    (folder / "AML" / "copy.png").write_bytes((folder / "Normal" / "n0.png").read_bytes())
    assert "are the same picture, labelled AML and healthy" in refused(folder)


def test_a_class_without_images_is_refused(folder: Path) -> None:
    (folder / "CML").mkdir()
    assert "the class CML has no images" in refused(folder)


def test_an_empty_folder_and_no_folder_are_refused(tmp_path: Path) -> None:
    (tmp_path / "readme.txt").write_text("nothing here")
    assert "holds no image" in refused(tmp_path)
    assert "is no folder" in refused(tmp_path / "gone")
    assert "there is no manifest" in refused(tmp_path, manifest=tmp_path / "gone.csv")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("file,group\nNormal/n0.png,p1\n", "gives no group for 5 images"),
        ("file,group\nNormal/gone.png,p1\n", "lists 1 files that are not there"),
        ("file,patient\nNormal/n0.png,p1\n", "lacks the column group"),
        ("file,group\nNormal/n0.png,p1\nNormal/n0.png,p2\n", "in two groups"),
    ],
)
def test_groups_that_do_not_fit_are_refused(folder: Path, text: str, said: str) -> None:
    (folder / "groups.csv").write_text(text)
    assert said in refused(folder)
