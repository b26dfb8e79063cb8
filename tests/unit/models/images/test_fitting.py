import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from cds.errors import PackageError
from models.errors import TrainingStopped
from models.images import fitting, training
from models.images.fitting import Request, fit
from models.images.image_set import read_image_set
from models.images.opened import ImageClassifier
from models.images.package import read_split
from models.images.squares import load_squares
from models.white_balance import neutral


def test_the_card_tells_how_the_package_came_about(network_package: Path, set_folder: Path) -> None:
    card = json.loads((network_package / "card.json").read_text())
    assert (card["task"], card["model"], card["protocol"]) == ("image", "small-cnn", "grouped")
    assert card["labels"] == ["healthy", "ALL"]
    assert card["input"]["size_px"] == 32
    assert card["training"]["epochs"] == 3
    counts = card["split"]["images"]
    assert sum(n for split in counts.values() for n in split.values()) == len(list(set_folder.glob("*.png")))
    rows = read_split(network_package)
    assert {r.split for r in rows} == {"train", "validation", "test"}
    assert len({(r.group, r.split) for r in rows}) == len({r.group for r in rows})
    history = json.loads((network_package / "history.json").read_text())
    assert [entry["epoch"] for entry in history] == [1, 2, 3]
    assert not network_package.with_name("package.run").exists(), (
        "the checkpoint goes once the package stands"
    )


def test_a_machine_is_packaged_with_its_features_and_copies(machine_package: Path) -> None:
    card = json.loads((machine_package / "card.json").read_text())
    assert card["weights"]["file"] == "machine.npz"
    assert len(card["training"]["features"]) >= 1
    assert {r.copy for r in read_split(machine_package)} == {0, 1}


def test_the_mean_and_the_temperature_are_of_training_and_validation(
    network_package: Path, set_folder: Path
) -> None:
    classifier = ImageClassifier(network_package)
    image_set = read_image_set(set_folder)
    squares = load_squares(image_set.images, 32)
    split = {r.sha256: r.split for r in read_split(network_package)}
    taught = [k for k, i in enumerate(image_set.images) if split[i.sha256] == "train"]
    mean = neutral(squares[taught])[:, ::4, ::4].reshape(-1, 3).mean(axis=0) / 255
    assert np.allclose(classifier.card.mean, mean, atol=0.001)
    assert classifier.card.temperature != 1.0


def test_something_else_in_the_way_is_refused_before_training(set_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "mine.txt").write_text("keep")
    with pytest.raises(PackageError, match="is no model package: it is left as it is"):
        fit(Request(data=set_folder, out=tmp_path / "photos", model="small-cnn"))
    assert [p.name for p in (tmp_path / "photos").iterdir()] == ["mine.txt"]


def test_a_disk_that_fills_while_the_package_is_written_leaves_none(
    set_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(network: object, path: Path, *, size_px: int) -> None:
        path.write_bytes(b"half a network")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(fitting, "write_onnx", full)
    request = Request(data=set_folder, out=tmp_path / "p", model="small-cnn", epochs=1, size_px=32, threads=1)
    with pytest.raises(PackageError, match=r"cannot be written: .*No space left"):
        fit(request)
    assert [p.name for p in tmp_path.iterdir()] == ["p.run"], "the training itself is not lost"
    monkeypatch.undo()
    with monkeypatch.context() as patch:
        patch.setattr(training, "_epoch", lambda *_: pytest.fail("nothing is left to train"))
        fit(Request(**{**{f: getattr(request, f) for f in request.__dataclass_fields__}, "resume": True}))
    assert ImageClassifier(tmp_path / "p").card.model == "small-cnn"


def test_a_package_is_replaced_whole(network_package: Path, set_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(network_package, tmp_path / "p")
    before = (tmp_path / "p" / "card.json").read_text()
    request = {"data": set_folder, "out": tmp_path / "p", "model": "small-cnn", "epochs": 1, "size_px": 32}
    with pytest.raises(TrainingStopped):
        fit(Request(**request, device="abacus"))
    assert (tmp_path / "p" / "card.json").read_text() == before
    fit(Request(**request, protocol="leaky", copies=1, threads=1))
    assert ImageClassifier(tmp_path / "p").card.protocol == "leaky"
