"""How good a package of task `image` is on images that it was not trained on: answers, figures, and the baseline."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.baseline import border_features, fit_logistic
from models.images.image_set import ImageSet
from models.images.kinds import LEAKY, TEST, TRAIN, ImageSetError
from models.images.opened import ImageClassifier
from models.images.package import ImageCard, SplitRow
from models.images.splits import View
from models.images.views import squares_of, truth_of
from models.statistics import Figure, auroc, by_groups, calibration_error, confusion, macro_f1

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

BASELINE = "border_colour_baseline"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Answers:
    """What a package said about each view that was measured, and what the colour of the border alone gives."""

    labels: tuple[str, ...]
    names: tuple[str, ...]
    copies: tuple[int, ...]
    groups: tuple[str, ...]
    truth: Ints
    #: Probabilities ``(n, labels)``.
    probabilities: Floats
    #: The same by the baseline; None where its training images are not at hand.
    baseline: Floats | None
    #: What was measured, in a sentence.
    what: str


def ask(
    classifier: ImageClassifier,
    split: Sequence[SplitRow],
    image_set: ImageSet,
    squares: npt.NDArray[np.uint8],
) -> Answers:
    """Ask the package about its held-back test images; where the set has none, about all images that it never saw.

    squares: the set's pictures ``(n, s, s, 3)`` at the card's size. Images of training and validation are passed over.
    Raises ImageSetError when nothing is left, or the set has a class that the package does not know.
    """
    card = classifier.card
    if unknown := sorted(set(image_set.labels).difference(card.labels)):
        raise ImageSetError(
            f"{card.name} does not know the class {unknown[0]}; it tells apart {', '.join(card.labels)}"
        )
    known = ImageSet(images=image_set.images, labels=card.labels)
    tested, taught, groups, what = _views(card, split, known)
    seed = int(card.document["split"]["seed"])
    pictures = squares_of(tested, known, squares, seed)
    truth = truth_of(tested, known)
    baseline = None
    taught_truth = truth_of(taught, known)
    if len(set(taught_truth.tolist())) == len(card.labels):
        predict = fit_logistic(
            border_features(squares_of(taught, known, squares, seed)), taught_truth, len(card.labels)
        )
        baseline = predict(border_features(pictures))
    return Answers(
        labels=card.labels,
        names=tuple(known.images[v.image].name for v in tested),
        copies=tuple(v.copy for v in tested),
        groups=tuple(groups[v.image] for v in tested),
        truth=truth,
        probabilities=classifier.classify_squares(pictures),
        baseline=baseline,
        what=what,
    )


def figures_of(answers: Answers) -> dict[str, Figure]:
    """Every figure, with its interval by bootstrap over groups; of the baseline too."""
    unit = "views" if any(answers.copies) else "images"
    found = _figures(answers.truth, answers.probabilities, answers.groups, answers.labels, unit)
    if answers.baseline is not None:
        plain = _figures(answers.truth, answers.baseline, answers.groups, answers.labels, unit, in_full=False)
        found |= {f"{BASELINE}.{name}": figure for name, figure in plain.items()}
    return found


def confusion_of(answers: Answers) -> list[list[int]]:
    """Counts: row the true class, column the named one."""
    matrix = confusion(answers.truth, answers.probabilities.argmax(axis=1), len(answers.labels))
    return [[int(n) for n in row] for row in matrix]


def _views(
    card: ImageCard, split: Sequence[SplitRow], image_set: ImageSet
) -> tuple[list[View], list[View], list[str], str]:
    """Views to measure, views of training (for the baseline), each image's group, and what is measured in words."""
    # A picture may stand in a set twice: its first file takes the first rows of that digest, the second the next.
    rows: dict[tuple[str, int], list[SplitRow]] = defaultdict(list)
    for row in split:
        rows[row.sha256, row.copy].append(row)
    copies = sorted({row.copy for row in split})
    met: Counter[str] = Counter()
    views, groups, new = [], [], []
    for i, image in enumerate(image_set.images):
        place = met[image.sha256]
        met[image.sha256] += 1
        own = [r[place] for copy in copies if place < len(r := rows.get((image.sha256, copy), []))]
        views += [View(i, row.copy, row.split) for row in own]
        groups.append(own[0].group if own else image.group or image.sha256)
        if not own and place == 0:
            new.append(View(i, 0, TEST))
    tested = [view for view in views if view.split == TEST]
    taught = [view for view in views if view.split == TRAIN]
    if tested:
        what = (
            f"{len(tested)} views (images and augmented copies) held back by image, most of whose images have copies "
            "in training: the leaky protocol"
            if card.protocol == LEAKY
            else f"{len(tested)} images of {len({groups[v.image] for v in tested})} groups held back whole"
        )
        if new:
            what += f"; {len(new)} images that the training's folder did not hold were passed over"
        return tested, taught, groups, what
    if new:
        return new, taught, groups, f"{len(new)} images of a set that the package was not trained on"
    raise ImageSetError(
        f"{card.name} was trained on every image of that folder: nothing is left to measure it on"
    )


def _figures(
    truth: Ints,
    probabilities: Floats,
    groups: Sequence[str],
    labels: Sequence[str],
    unit: str,
    *,
    in_full: bool = True,
) -> dict[str, Figure]:
    """in_full: by class, and calibration, too."""
    named = probabilities.argmax(axis=1)
    right = named == truth
    count = len(labels)

    cell = truth * count + named  # of the confusion matrix, which thousands of resamples count anew

    def over(statistic: str, label: int = 0) -> Figure:
        def value(rows: npt.NDArray[np.intp]) -> float:
            matrix = np.bincount(cell[rows], minlength=count * count).reshape(count, count)
            return _class_value(statistic, matrix, label)

        return by_groups(value, groups, unit=unit)

    found = {
        "accuracy": by_groups(lambda r: float(right[r].mean()), groups, unit=unit),
        "balanced_accuracy": over("balanced_accuracy"),
        "macro_f1": over("macro_f1"),
    }
    if count == 2:
        # Of the second label; with two labels it is the first one's too.
        found["auroc"] = by_groups(lambda r: auroc(probabilities[r, 1], truth[r] == 1), groups, unit=unit)
    if in_full:
        found["calibration_error"] = by_groups(
            lambda r: calibration_error(probabilities[r].max(axis=1), right[r]), groups, unit=unit
        )
        for k, label in enumerate(labels):
            for statistic in ("accuracy", "precision", "recall", "f1"):
                found[f"{statistic}.{label}"] = over(statistic, k)
    return found | _by_group(truth, probabilities, groups, count)


def _class_value(statistic: str, matrix: Ints, label: int) -> float:
    """One value of a confusion matrix; nan where it is undefined."""
    total, hit = int(matrix.sum()), int(matrix[label, label])
    named, true = int(matrix[:, label].sum()), int(matrix[label].sum())
    if statistic == "macro_f1":
        return macro_f1(matrix)
    if statistic == "balanced_accuracy":
        present = matrix.sum(axis=1) > 0
        return float((np.diag(matrix)[present] / matrix.sum(axis=1)[present]).mean())
    above, below = {
        "accuracy": (total - named - true + 2 * hit, total),  # this class against the rest
        "precision": (hit, named),
        "recall": (hit, true),
        "f1": (2 * hit, named + true),
    }[statistic]
    return above / below if below else float("nan")


def _by_group(truth: Ints, probabilities: Floats, groups: Sequence[str], labels: int) -> dict[str, Figure]:
    """Figures by group (a patient, say): its class by the mean of its images' probabilities.

    Nothing where groups are single images or hold several classes.
    """
    names = sorted(set(groups))
    members = [np.flatnonzero(np.array(groups) == name) for name in names]
    if len(names) == len(groups) or any(len(set(truth[m].tolist())) > 1 for m in members):
        return {}
    own = np.array([truth[m[0]] for m in members])
    mean = np.array([probabilities[m].mean(axis=0) for m in members])
    right = mean.argmax(axis=1) == own
    found = {"by_group.accuracy": by_groups(lambda r: float(right[r].mean()), names, unit="groups")}
    found["by_group.balanced_accuracy"] = by_groups(
        lambda r: _class_value("balanced_accuracy", confusion(own[r], mean[r].argmax(axis=1), labels), 0),
        names,
        unit="groups",
    )
    if labels == 2 and len(Counter(own.tolist())) == 2:
        found["by_group.auroc"] = by_groups(lambda r: auroc(mean[r, 1], own[r] == 1), names, unit="groups")
    return found
