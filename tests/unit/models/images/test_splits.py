from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models.images.image_set import ImageSet, read_image_set
from models.images.kinds import ImageSetError
from models.images.splits import View, divide
from models.images.squares import load_squares


@pytest.fixture(scope="module")
def drawn(set_folder: Path) -> tuple[ImageSet, np.ndarray]:
    image_set = read_image_set(set_folder)
    return image_set, load_squares(image_set.images, 64)


def changed(image_set: ImageSet, **changes: object) -> ImageSet:
    return replace(image_set, images=tuple(replace(i, **changes) for i in image_set.images))


def sides(division) -> dict[str, set[str]]:
    found = defaultdict(set)
    for view in division.views:
        found[division.groups[view.image]].add(view.split)
    return found


def test_groups_are_never_divided_and_every_class_stands_on_both_sides(drawn) -> None:
    image_set, squares = drawn
    for seed in range(5):
        division = divide(image_set, squares, "grouped", copies=4, seed=seed)
        assert all(len(found) == 1 for found in sides(division).values())
        assert [view.image for view in division.views] == list(range(len(squares)))
        for split in ("train", "validation", "test"):
            assert {image_set.images[v.image].label for v in division.of(split)} == {"healthy", "ALL"}
    assert divide(image_set, squares, "grouped", copies=4, seed=1) == divide(
        image_set, squares, "grouped", copies=4, seed=1
    )


def test_the_leaky_way_puts_copies_of_most_images_on_both_sides(drawn) -> None:
    image_set, squares = drawn
    division = divide(image_set, squares, "leaky", copies=4, seed=1)
    assert len(division.views) == 5 * len(squares)
    tested, taught = ({v.image for v in division.of(s)} for s in ("test", "train"))
    assert len(tested & taught) > 0.9 * len(tested)
    assert (
        f"{len(tested & {v.image for v in division.views if v.split != 'test'})} of the images"
        in division.notes[-1]
    )


def test_without_groups_runs_of_file_numbers_stay_together(drawn) -> None:
    image_set, squares = drawn
    division = divide(changed(image_set, group=None), squares, "grouped", copies=1, seed=3)
    assert "no groups were told" in division.notes[0]
    of_name = {i.name: division.groups[k] for k, i in enumerate(image_set.images)}
    assert of_name["Im001_1.png"] == of_name["Im010_1.png"] != of_name["Im011_1.png"]
    assert of_name["Im001_1.png"] != of_name["Im001_0.png"]


def test_groups_with_near_duplicates_of_one_another_become_one(drawn) -> None:
    image_set, squares = drawn
    copied = squares.copy()
    first, second = (
        next(k for k, i in enumerate(image_set.images) if i.group == g) for g in ("p0-0", "p0-3")
    )
    copied[second] = copied[first][:, ::-1]
    division = divide(image_set, copied, "grouped", copies=1, seed=3)
    assert division.groups[first] == division.groups[second]
    assert "1 pairs of near duplicates stood in different groups" in division.notes[0]


def stated(image_set: ImageSet) -> ImageSet:
    """With a split of its own: the last two groups of each class are its test."""
    return replace(
        image_set,
        images=tuple(
            replace(i, split="test" if str(i.group)[-1] in "45" else "train") for i in image_set.images
        ),
    )


def test_the_sets_own_split_is_kept_and_validation_is_taken_out_of_training(drawn) -> None:
    image_set, squares = drawn
    own = stated(image_set)
    division = divide(own, squares, "grouped", copies=1, seed=3)
    assert {v.image for v in division.of("test")} == {
        k for k, i in enumerate(own.images) if i.split == "test"
    }
    assert {own.images[v.image].label for v in division.of("validation")} == {"healthy", "ALL"}


def test_near_duplicates_across_the_sets_own_split_are_refused_unless_allowed(drawn) -> None:
    image_set, squares = drawn
    copied = squares.copy()
    first, second = (
        next(k for k, i in enumerate(image_set.images) if i.group == g) for g in ("p1-0", "p1-5")
    )
    copied[second] = np.rot90(copied[first])
    own = stated(image_set)
    with pytest.raises(
        ImageSetError, match=r"near-duplicate images stand in two splits, the first: Im001_1\.png"
    ):
        divide(own, copied, "grouped", copies=1, seed=3)
    division = divide(own, copied, "grouped", copies=1, seed=3, allow_near_duplicates=True)
    assert any("near-duplicate images stand in two splits" in note for note in division.notes)


def test_a_class_of_one_group_is_refused(drawn) -> None:
    image_set, squares = drawn
    lumped = replace(
        image_set,
        images=tuple(replace(i, group="one") if i.label == "ALL" else i for i in image_set.images),
    )
    with pytest.raises(ImageSetError, match="the class ALL has no image to test with"):
        divide(lumped, squares, "grouped", copies=1, seed=3)


def test_a_view_names_its_copies() -> None:
    assert View(3, 0, "train").copies(2) == [View(3, 0, "train"), View(3, 1, "train"), View(3, 2, "train")]
