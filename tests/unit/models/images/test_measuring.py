from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from models.images.image_set import read_image_set
from models.images.kinds import ImageSetError
from models.images.measuring import Answers, ask, confusion_of, figures_of
from models.images.opened import ImageClassifier
from models.images.package import read_split
from models.images.squares import load_squares


def answers(truth: list[int], named: list[int], groups: list[str], labels: int = 3) -> Answers:
    probabilities = np.full((len(truth), labels), 0.1)
    probabilities[np.arange(len(truth)), named] = 1 - 0.1 * (labels - 1)
    names = ("healthy", "ALL", "AML")[:labels]
    return Answers(
        labels=names, names=tuple(map(str, range(len(truth)))), copies=(0,) * len(truth), groups=tuple(groups),
        truth=np.array(truth), probabilities=probabilities, baseline=None, what="as told",
    )  # fmt: skip


def test_figures_by_class_are_those_of_the_confusion_matrix() -> None:
    told = answers([0, 0, 0, 0, 1, 1, 1, 2], [0, 0, 0, 1, 1, 1, 0, 2], list("aabbccdd"))
    assert confusion_of(told) == [[3, 1, 0], [1, 2, 0], [0, 0, 1]]
    found = {name: figure.value for name, figure in figures_of(told).items()}
    assert found["accuracy"] == pytest.approx(6 / 8)
    assert found["balanced_accuracy"] == pytest.approx((3 / 4 + 2 / 3 + 1) / 3)
    assert found["precision.ALL"] == pytest.approx(2 / 3)
    assert found["recall.healthy"] == pytest.approx(3 / 4)
    assert found["f1.healthy"] == pytest.approx(6 / 8)
    assert found["accuracy.ALL"] == pytest.approx(6 / 8)
    assert found["accuracy.AML"] == 1
    assert found["macro_f1"] == pytest.approx((6 / 8 + 2 / 3 + 1) / 3)
    assert "auroc" not in found
    assert "by_group.accuracy" not in found, "one group holds two classes"


def test_intervals_are_over_groups_and_an_undefined_value_is_none() -> None:
    told = answers(
        [0] * 6 + [1] * 6, [0] * 6 + [0, 0, 0, 1, 1, 1], ["p"] * 3 + ["q"] * 3 + ["r"] * 3 + ["s"] * 3, 2
    )
    found = figures_of(told)
    low, high = found["recall.ALL"].interval or (0, 0)
    assert (low, high) == (0, 1), "one of the two patients is wholly right, the other wholly wrong"
    assert found["by_group.accuracy"].value == 3 / 4
    assert found["by_group.auroc"].n == 4
    never = figures_of(answers([0, 0, 1], [0, 0, 0], ["a", "b", "c"], 2))
    assert never["precision.ALL"].as_json()["value"] is None


def test_only_the_held_back_images_are_measured(network_package: Path, set_folder: Path) -> None:
    classifier = ImageClassifier(network_package)
    image_set = read_image_set(set_folder)
    split = read_split(network_package)
    told = ask(classifier, split, image_set, load_squares(image_set.images, 32))
    held = {r.sha256 for r in split if r.split == "test"}
    assert set(told.names) == {i.name for i in image_set.images if i.sha256 in held}
    assert "held back whole" in told.what
    assert told.baseline is not None
    assert told.baseline.shape == told.probabilities.shape
    assert "border_colour_baseline.accuracy" in figures_of(told)


def test_leaky_views_are_measured_once_each_also_of_a_picture_that_stands_twice(
    machine_package: Path, set_folder: Path
) -> None:
    image_set = read_image_set(set_folder)
    split = read_split(machine_package)
    squares = load_squares(image_set.images, 64)
    told = ask(ImageClassifier(machine_package), split, image_set, squares)
    assert len(told.names) == sum(r.split == "test" for r in split)
    assert any(told.copies)
    doubled = replace(image_set, images=(*image_set.images, image_set.images[0]))
    again = ask(ImageClassifier(machine_package), split, doubled, np.concatenate([squares, squares[:1]]))
    assert again.names == told.names


def test_a_set_never_seen_is_measured_whole_and_an_unknown_class_refused(
    network_package: Path, tmp_path: Path, draw
) -> None:
    for label in ("ALL", "healthy"):
        (tmp_path / label).mkdir()
        for k in range(2):
            Image.fromarray(draw(label == "ALL", 900 + k)).save(tmp_path / label / f"{k}.png")
    classifier, split = ImageClassifier(network_package), read_split(network_package)
    image_set = read_image_set(tmp_path)
    told = ask(classifier, split, image_set, load_squares(image_set.images, 32))
    assert len(told.names) == 4
    assert told.baseline is None
    assert "not trained on" in told.what
    (tmp_path / "CML").mkdir()
    Image.fromarray(draw(True, 990)).save(tmp_path / "CML" / "x.png")
    image_set = read_image_set(tmp_path)
    with pytest.raises(ImageSetError, match="does not know the class CML; it tells apart healthy, ALL"):
        ask(classifier, split, image_set, load_squares(image_set.images, 32))


def test_training_images_alone_leave_nothing_to_measure(network_package: Path, set_folder: Path) -> None:
    image_set = read_image_set(set_folder)
    split = read_split(network_package)
    taught = {r.sha256 for r in split if r.split == "train"}
    alone = replace(image_set, images=tuple(i for i in image_set.images if i.sha256 in taught))
    with pytest.raises(ImageSetError, match="nothing is left to measure"):
        ask(ImageClassifier(network_package), split, alone, load_squares(alone.images, 32))
