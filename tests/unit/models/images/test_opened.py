import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cds.errors import PackageError
from models.images.opened import ImageClassifier
from models.images.package import load_image_card
from models.package import bundled_package, file_digest, load_card


@pytest.mark.parametrize("package", ["network_package", "machine_package"])
def test_a_package_answers_for_pictures_of_any_size(package: str, request, draw) -> None:
    classifier = ImageClassifier(request.getfixturevalue(package))
    large, small = (classifier.classify(draw(kind, 500, 90)) for kind in (True, False))
    assert large.sum() == pytest.approx(1)
    assert large[1] > small[1]
    squares = np.stack([draw(k % 2 == 1, 600 + k, classifier.card.input_px) for k in range(20)])
    named = classifier.classify_squares(squares).argmax(axis=1)
    assert (named == np.arange(20) % 2).mean() >= 0.8
    assert classifier.classify_squares(squares[:0]).shape == (0, 2)


Change = Callable[[dict[str, Any]], None]


def altered(package: Path, to: Path, change: Change) -> Path:
    shutil.copytree(package, to)
    document = json.loads((to / "card.json").read_text())
    change(document)
    (to / "card.json").write_text(json.dumps(document))
    return to


def _swap(document: dict[str, Any]) -> None:
    document["files"].pop("split.csv")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda d: d.update(task="cells"), "task 'cells' is not 'image'"),
        (lambda d: d.update(labels=["ALL", "ALL"]), "labels must be"),
        (lambda d: d.update(labels=["ALL"]), "labels must be"),
        (lambda d: d.update(labels=["healthy", "ALL", "AML"]), "tells 2 types apart, the card names 3"),
        (lambda d: d["input"].update(size_px=0), "input.size_px"),
        (lambda d: d["input"].update(size_px=33), "does not take crops of 33 px"),
        (lambda d: d["input"].update(std=[0, 1, 1]), "std must be above zero"),
        (lambda d: d["input"].update(white_balance="yes"), "white_balance"),
        (lambda d: d.update(temperature=0), "temperature"),
        (lambda d: d.update(model="oracle"), "'oracle'"),
        (lambda d: d["weights"].update(file="other.onnx"), "not among the card's files: other.onnx"),
        (_swap, "not among the card's files: split.csv"),
    ],
)
def test_a_card_that_does_not_fit_is_refused(
    network_package: Path, tmp_path: Path, change: Change, said: str
) -> None:
    folder = altered(network_package, tmp_path / "p", change)
    with pytest.raises(PackageError, match=said):
        ImageClassifier(folder)


@pytest.mark.parametrize("name", ["weights.onnx", "split.csv", "history.json"])
def test_altered_files_are_refused(network_package: Path, tmp_path: Path, name: str) -> None:
    shutil.copytree(network_package, tmp_path / "p")
    with (tmp_path / "p" / name).open("ab") as file:
        file.write(b"\n")
    with pytest.raises(PackageError, match=f"{name} was altered"):
        load_image_card(tmp_path / "p")
    (tmp_path / "p" / name).unlink()
    with pytest.raises(PackageError, match=f"{name} is missing"):
        load_image_card(tmp_path / "p")


def test_weights_that_are_no_network_are_refused(network_package: Path, tmp_path: Path) -> None:
    shutil.copytree(network_package, tmp_path / "p")
    (tmp_path / "p" / "weights.onnx").write_bytes(b"no network")
    document = json.loads((tmp_path / "p" / "card.json").read_text())
    document["files"]["weights.onnx"] = file_digest(tmp_path / "p" / "weights.onnx")
    (tmp_path / "p" / "card.json").write_text(json.dumps(document))
    with pytest.raises(PackageError, match="no network that ONNX Runtime can load"):
        ImageClassifier(tmp_path / "p")


def test_neither_task_opens_the_others_packages(network_package: Path) -> None:
    with pytest.raises(PackageError, match="task 'cells' is not 'image', the one that names whole images"):
        load_image_card(bundled_package())
    with pytest.raises(PackageError, match="task 'image' is not 'cells', the one that reads smears"):
        load_card(network_package)
