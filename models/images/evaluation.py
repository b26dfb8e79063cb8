"""Measure packages of task `image` and write report, predictions and figures into each: `leukocds evaluate`."""

import csv
import io
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cds.errors import PackageError
from models.images.image_set import ImageSet, read_image_set
from models.images.measuring import Answers, ask, confusion_of, figures_of
from models.images.opened import ImageClassifier
from models.images.package import HISTORY_FILE, read_split
from models.images.report import write_page
from models.images.squares import load_squares
from models.package import CARD, REPORT, file_digest, new_package, write_card

PREDICTIONS, METRICS, PAGE = "predictions-test.csv", "metrics.json", "index.html"
COMMAND = "leukocds evaluate PACKAGE --data FOLDER"


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A package with all that its report says about it."""

    folder: Path
    card: Mapping[str, Any]
    report: Mapping[str, Any]


def evaluate(
    packages: Sequence[Path],
    data: Path,
    *,
    manifest: Path | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> list[Measured]:
    """Measure each package on the images of `data` and write its report; with several, each report shows them all.

    Classes and subtypes are read as each package's training read them. Raises ImageSetError or PackageError; a package
    is replaced whole or not at all.
    """
    opened = [(folder, ImageClassifier(folder)) for folder in packages]
    measured = []
    sets: dict[tuple[bool, bool], ImageSet] = {}
    pictures: dict[tuple[bool, bool, int], npt.NDArray[np.uint8]] = {}
    for folder, classifier in opened:
        reading = classifier.card.document["reading"]
        how = (bool(reading["free_classes"]), bool(reading["subtypes"]))
        if how not in sets:
            sets[how] = read_image_set(data, manifest=manifest, free_classes=how[0], subtypes=how[1])
        key = (*how, classifier.card.input_px)
        if key not in pictures:
            pictures[key] = load_squares(sets[how].images, classifier.card.input_px)
        answers = ask(classifier, read_split(folder), sets[how], pictures[key])
        report = _report(answers, folder)
        say(f"{folder.name}: {answers.what}")
        document = {**classifier.card.document, "metrics": _metrics(report)}
        measured.append((folder, document, report, answers))
    found = [Measured(folder=f, card=document, report=report) for f, document, report, _ in measured]
    for own, (folder, _, _, answers) in zip(found, measured, strict=True):
        _write(own, [own, *(other for other in found if other.folder != folder)], answers)
    return found


def read_measured(folder: Path) -> Measured:
    """A package that was measured before. Raises PackageError when it is altered or was not."""
    card = ImageClassifier(folder).card
    try:
        report = json.loads((folder / REPORT / METRICS).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise PackageError(f"{folder} has no report: `leukocds evaluate` makes one") from error
    return Measured(folder=folder, card=card.document, report=report)


def _report(answers: Answers, folder: Path) -> dict[str, Any]:
    history = json.loads((folder / HISTORY_FILE).read_text(encoding="utf-8"))
    return {
        "command": COMMAND,
        "measured": answers.what,
        "labels": list(answers.labels),
        "figures": {name: figure.as_json() for name, figure in figures_of(answers).items()},
        "confusion": confusion_of(answers),
        "history": history,
    }


def _metrics(report: Mapping[str, Any]) -> dict[str, Any]:
    return {name: {**figure, "command": COMMAND} for name, figure in report["figures"].items()}


def _write(own: Measured, shown: Sequence[Measured], answers: Answers) -> None:
    with new_package(own.folder) as folder:
        for name in own.card["files"]:
            if not name.startswith(REPORT):
                shutil.copyfile(own.folder / name, folder / name)
        report = folder / REPORT
        report.mkdir()
        (report / PREDICTIONS).write_text(_predictions(answers), encoding="utf-8")
        (report / METRICS).write_text(json.dumps(own.report, indent=1) + "\n", encoding="utf-8")
        write_page(report / PAGE, [(m.card, m.report) for m in shown])
        files = sorted(
            str(p.relative_to(folder).as_posix()) for p in folder.rglob("*") if p.is_file() and p.name != CARD
        )
        write_card(folder, {**own.card, "files": {name: file_digest(folder / name) for name in files}})


def _predictions(answers: Answers) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("file", "copy", "group", "label", *answers.labels))
    for i, name in enumerate(answers.names):
        row = (name, answers.copies[i], answers.groups[i], answers.labels[int(answers.truth[i])])
        writer.writerow((*row, *(f"{p:.5f}" for p in answers.probabilities[i])))
    return text.getvalue()
