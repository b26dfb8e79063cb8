"""Dividing an image set: by group, before any augmentation; or the leaky way, copies first and then by image."""

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from models.images.duplicates import clusters, near_duplicates
from models.images.image_set import ImageSet, LabelledImage
from models.images.kinds import LEAKY, SPLITS, TEST, TRAIN, VALIDATION, ImageSetError

#: Files numbered in a row were mostly photographed in a row, from one slide: so many make a block.
_BLOCK = 10

TEST_SHARE = 0.2
VALIDATION_SHARE = 0.15


@dataclass(frozen=True, slots=True, order=True)
class View:
    """An image as it is (copy 0) or its augmented copy of that number, and the split that it belongs to."""

    image: int
    copy: int
    split: str

    def copies(self, count: int) -> "list[View]":
        """This view and `count` augmented copies of its image, in the same split."""
        return [self, *(View(self.image, copy, self.split) for copy in range(1, count + 1))]


@dataclass(frozen=True, slots=True, kw_only=True)
class Division:
    """How a set is divided. groups: of each image, as the bootstrap takes them; notes: what a reader should know."""

    views: tuple[View, ...]
    groups: tuple[str, ...]
    notes: tuple[str, ...]

    def of(self, split: str) -> list[View]:
        """The views of one split."""
        return [view for view in self.views if view.split == split]


def divide(
    image_set: ImageSet,
    squares: npt.NDArray[np.uint8],
    protocol: str,
    *,
    copies: int,
    seed: int,
    allow_near_duplicates: bool = False,
) -> Division:
    """Divide `image_set`, whose pictures are `squares` ``(n, s, s, 3)``, by one of `kinds.PROTOCOLS`.

    "grouped": by group and before augmentation, with the set's own split where it has one; groups that hold near
    duplicates of one another become one. Where no groups are told, near duplicates and runs of ten file numbers are
    taken for groups. "leaky": `copies` augmented copies of each image are made first, then all are divided by image,
    whatever the set's own split: what papers did whose figures cannot be reached on new patients.

    Raises ImageSetError when a class is missing from training or test, or, in a set's own split, near duplicates
    stand on both sides (allow_near_duplicates: say so and go on).
    """
    pairs = near_duplicates(squares)
    grouped, notes = _with_groups(image_set.images, pairs)
    if protocol == LEAKY:
        views = _by_image(len(grouped), copies, np.random.default_rng(seed))
        notes.append(f"leaky on purpose: {_torn(views)} of the images have copies on both sides of the split")
    else:
        split = _by_group(grouped, image_set.labels, seed, notes)
        across = [(i, j) for i, j in pairs if split[i].split != split[j].split]
        if across:
            i, j = across[0]
            said = (
                f"{len(across)} pairs of near-duplicate images stand in two splits, the first: {split[i].name} "
                f"({split[i].split}) and {split[j].name} ({split[j].split})"
            )
            if not allow_near_duplicates:
                raise ImageSetError(said)
            notes.append(said)
        views = [View(i, 0, str(image.split)) for i, image in enumerate(split)]
    _check_classes(views, image_set)
    return Division(
        views=tuple(sorted(views)), groups=tuple(str(i.group) for i in grouped), notes=tuple(notes)
    )


def _with_groups(
    images: Sequence[LabelledImage], pairs: Sequence[tuple[int, int]]
) -> tuple[list[LabelledImage], list[str]]:
    """The images, each with a group; near duplicates share one, but not across the set's own split."""
    notes: list[str] = []
    joined = list(pairs)
    stated = images[0].group is not None
    if stated:
        first: dict[str, int] = {}
        own = [(first.setdefault(str(image.group), i), i) for i, image in enumerate(images)]
        foreign = [(i, j) for i, j in pairs if images[i].group != images[j].group]
        if foreign and images[0].split is None:
            notes.append(
                f"{len(foreign)} pairs of near duplicates stood in different groups: these were joined"
            )
        elif foreign:
            foreign = []
        joined = own + foreign
    else:
        # What the set itself has divided stays divided: `divide` then finds the copies on both sides.
        joined = [(i, j) for i, j in pairs if images[i].split == images[j].split] + _blocks(images)
        notes.append(
            "no groups were told: near duplicates, and files numbered in a row (ten at a time), were kept together; "
            "patients may still stand on both sides"
        )
    member = clusters(len(images), joined)
    names = [images[m].group if stated else f"group-{m:05d}" for m in member]
    return [replace(image, group=name) for image, name in zip(images, names, strict=True)], notes


def _blocks(images: Sequence[LabelledImage]) -> list[tuple[int, int]]:
    """Pairs that join the files of one folder, label and name whose last number falls into the same ten."""
    first: dict[tuple[str, ...], int] = {}
    pairs = []
    for i, image in enumerate(images):
        path = Path(image.name)
        stem = re.sub(r"_[01]$", "", path.stem)  # ALL-IDB's label is no number of a picture
        match = re.search(r"(\d+)\D*$", stem)
        if match:
            block = (int(match[1]) - 1) // _BLOCK
            key = (path.parent.as_posix(), image.label, str(image.split), stem[: match.start()], str(block))
            pairs.append((first.setdefault(key, i), i))
    return pairs


def _by_group(
    images: Sequence[LabelledImage], labels: Sequence[str], seed: int, notes: list[str]
) -> list[LabelledImage]:
    """The images with a split each, whole groups only; the set's own split is kept."""
    split: dict[str, str] = {str(i.group): str(i.split) for i in images if i.split is not None}
    rng = np.random.default_rng(seed)
    if not split:
        split = _deal(images, labels, TEST, TEST_SHARE, rng)
    if VALIDATION not in split.values():
        taught = [i for i in images if split.get(str(i.group), TRAIN) == TRAIN]
        split |= _deal(taught, labels, VALIDATION, VALIDATION_SHARE, rng)
    for label in labels:
        if not any(i.label == label and split.get(str(i.group)) == VALIDATION for i in images):
            notes.append(f"no image of {label} could be spared for validation")
    return [replace(image, split=split.get(str(image.group), TRAIN)) for image in images]


def _deal(
    images: Sequence[LabelledImage],
    labels: Sequence[str],
    to: str,
    share: float,
    rng: np.random.Generator,
) -> dict[str, str]:
    """Groups given to the split `to`: of each label about `share` of the images, and never a label's last group."""
    of_group: dict[str, Counter[str]] = defaultdict(Counter)
    for image in images:
        of_group[str(image.group)][image.label] += 1
    mostly = {group: counts.most_common(1)[0][0] for group, counts in of_group.items()}
    dealt: dict[str, str] = {}
    for label in labels:
        groups = sorted(group for group, most in mostly.items() if most == label)
        if len(groups) < 2:
            continue
        wanted = share * sum(of_group[group].total() for group in groups)
        order = [groups[int(i)] for i in rng.permutation(len(groups))]
        held = 0
        for group in order[:-1]:
            size = of_group[group].total()
            # The group that comes nearest to the share; the first in any case.
            if held and abs(held + size - wanted) > abs(held - wanted):
                break
            dealt[group] = to
            held += size
    return dealt


def _by_image(count: int, copies: int, rng: np.random.Generator) -> list[View]:
    """All copies of all images, shuffled and cut."""
    every = [(image, copy) for image in range(count) for copy in range(copies + 1)]
    order = rng.permutation(len(every))
    tests, validations = round(TEST_SHARE * len(every)), round(VALIDATION_SHARE * len(every))
    split = [TEST] * tests + [VALIDATION] * validations + [TRAIN] * (len(every) - tests - validations)
    return [View(*every[int(k)], split=s) for k, s in zip(order, split, strict=True)]


def _torn(views: Sequence[View]) -> int:
    sides: dict[int, set[bool]] = defaultdict(set)
    for view in views:
        sides[view.image].add(view.split == TEST)
    return sum(len(found) > 1 for found in sides.values())


def _check_classes(views: Sequence[View], image_set: ImageSet) -> None:
    found = {
        split: Counter(image_set.images[v.image].label for v in views if v.split == split) for split in SPLITS
    }
    for split in (TRAIN, TEST):
        if missing := [label for label in image_set.labels if not found[split][label]]:
            raise ImageSetError(
                f"the class {missing[0]} has no image to {'train on' if split == TRAIN else 'test with'}: "
                "it needs at least two groups, one for each side"
            )
