"""From a folder of labelled images to a package: read, divide, train, calibrate. Test images are not looked at."""

import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch

from cds.errors import PackageError
from models.images.features import FEATURE_NAMES, classical_features
from models.images.image_set import ImageSet, read_image_set
from models.images.kinds import GROUPED, LEAKY, TASK, TEST, TRAIN, VALIDATION
from models.images.machine_training import fit_machine
from models.images.opened import ImageClassifier, seen
from models.images.package import (
    HISTORY_FILE,
    MACHINE_FILE,
    NETWORK_FILE,
    SPLIT_FILE,
    SplitRow,
    split_table,
)
from models.images.splits import Division, divide
from models.images.squares import load_squares
from models.images.training import Lesson, NetworkConfig, train_network
from models.images.views import squares_of, truth_of
from models.network_graph import write_onnx
from models.package import CARD, file_digest, new_package, write_card
from models.statistics import fit_temperature

#: Of ImageNet, which pretrained weights expect.
_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))

INTENDED_USE = (
    "Research: to repeat and to question published figures on folders of images. Names the class of a whole image. "
    "Not a medical device, and no part of the service that reads smears."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is to be trained. The options of `leukocds train --task image`."""

    data: Path
    out: Path
    model: str = "resnet34"
    protocol: str = GROUPED
    manifest: Path | None = None
    free_classes: bool = False
    subtypes: bool = False
    allow_near_duplicates: bool = False
    white_balance: bool = True
    #: Augmented copies of each image: made before the split when leaky, else as many more views in each epoch.
    copies: int = 4
    epochs: int = 30
    minutes: float | None = None
    batch: int = 32
    size_px: int = 224
    seed: int = 7
    device: str = "cpu"
    pretrained: bool = False
    resume: bool = False
    threads: int | None = None


def fit(request: Request, say: Callable[[str], None] = lambda line: None) -> Path:
    """Train as asked and write the package, all or nothing; returns its folder. say: takes a line of progress.

    Raises ImageSetError, TrainingStopped or PackageError, each saying what is wrong.
    """
    _check_out(request.out)
    if request.threads is not None:
        torch.set_num_threads(request.threads)
    cv2.setNumThreads(1)  # many small pictures: its thread pool would only get in the way
    image_set = read_image_set(
        request.data, manifest=request.manifest, free_classes=request.free_classes, subtypes=request.subtypes
    )
    squares = load_squares(image_set.images, request.size_px)
    division = divide(
        image_set, squares, request.protocol, copies=request.copies, seed=request.seed,
        allow_near_duplicates=request.allow_near_duplicates,
    )  # fmt: skip
    for line in _told(image_set, division):
        say(line)
    fitted = (_fit_machine if request.model == "svm-ga" else _fit_network)(
        request, image_set, squares, division, say
    )
    _write_package(request, image_set, squares, division, fitted)
    shutil.rmtree(_run_folder(request.out), ignore_errors=True)
    return request.out


@dataclass(frozen=True, slots=True, kw_only=True)
class _Fitted:
    write: Callable[[Path], None]
    file: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    history: Any
    training: Mapping[str, Any]


def _fit_network(
    request: Request, image_set: ImageSet, squares: npt.NDArray[np.uint8], division: Division,
    say: Callable[[str], None],
) -> _Fitted:  # fmt: skip
    taught, watched = division.of(TRAIN), division.of(VALIDATION)
    lesson_squares = squares_of(taught, image_set, squares, request.seed)
    mean, std = (
        _IMAGENET if request.pretrained else _normalisation(seen(lesson_squares, request.white_balance))
    )
    config = NetworkConfig(
        model=request.model, labels=image_set.labels, size_px=request.size_px, mean=mean, std=std,
        white_balance=request.white_balance, pretrained=request.pretrained, epochs=request.epochs,
        minutes=request.minutes, batch=request.batch, seed=request.seed, device=request.device,
    )  # fmt: skip
    leaky = request.protocol == LEAKY
    lesson = Lesson(
        squares=lesson_squares, truth=truth_of(taught, image_set), augment=not leaky,
        repeats=1 if leaky else request.copies + 1, fingerprint=_fingerprint(image_set, division),
    )  # fmt: skip

    def told(entry: Mapping[str, float]) -> None:
        say("  ".join(f"{k} {v:g}" if k == "epoch" else f"{k} {v:.3f}" for k, v in entry.items()))

    network, history = train_network(
        lesson, (squares_of(watched, image_set, squares, request.seed), truth_of(watched, image_set)), config,
        _run_folder(request.out) / "checkpoint.pt", resume=request.resume, on_epoch=told,
    )  # fmt: skip
    return _Fitted(
        write=lambda path: write_onnx([network], path, size_px=request.size_px),
        file=NETWORK_FILE, mean=mean, std=std, history=history,
        training={
            "optimiser": "AdamW, one cycle, label smoothing, classes weighted alike",
            "epochs": len(history),
            "minutes": round(sum(entry["seconds"] for entry in history) / 60, 1),
            "batch": request.batch,
            "peak_rate": config.peak_rate,
            "pretrained": request.pretrained,
        },
    )  # fmt: skip


def _fit_machine(
    request: Request, image_set: ImageSet, squares: npt.NDArray[np.uint8], division: Division,
    say: Callable[[str], None],
) -> _Fitted:  # fmt: skip
    taught = division.of(TRAIN)
    if request.protocol == GROUPED:
        # The copies that the leaky way makes before its split, of training images alone.
        taught = [copy for view in taught for copy in view.copies(request.copies)]
    features = classical_features(
        seen(squares_of(taught, image_set, squares, request.seed), request.white_balance)
    )
    # The leaky way holds single copies out in cross-validation, as it does in its test.
    leaky = request.protocol == LEAKY
    groups = [str(i) if leaky else division.groups[view.image] for i, view in enumerate(taught)]
    machine, selection = fit_machine(
        features, truth_of(taught, image_set), groups, len(image_set.labels), seed=request.seed
    )
    say(
        f"{len(machine.chosen)} of {len(FEATURE_NAMES)} features chosen; balanced accuracy "
        f"{selection.cross_validated:.3f} by cross-validation inside training"
    )
    return _Fitted(
        write=machine.save, file=MACHINE_FILE, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0),
        history=asdict(selection),
        training={
            "features": [FEATURE_NAMES[int(k)] for k in machine.chosen],
            "support_vectors": len(machine.vectors),
            "penalty": selection.penalty,
            "gamma": selection.gamma,
        },
    )  # fmt: skip


def _write_package(
    request: Request, image_set: ImageSet, squares: npt.NDArray[np.uint8], division: Division, fitted: _Fitted
) -> None:
    with new_package(request.out) as folder:
        fitted.write(folder / fitted.file)
        (folder / HISTORY_FILE).write_text(json.dumps(fitted.history, indent=1) + "\n", encoding="utf-8")
        rows = [
            SplitRow(
                sha256=image_set.images[v.image].sha256, copy=v.copy, split=v.split,
                group=division.groups[v.image],
            )
            for v in division.views
        ]  # fmt: skip
        (folder / SPLIT_FILE).write_text(split_table(rows), encoding="utf-8")
        card = _card(request, image_set, division, fitted)
        card["files"] = {
            name: file_digest(folder / name) for name in sorted((fitted.file, HISTORY_FILE, SPLIT_FILE))
        }
        write_card(folder, card)
        watched = division.of(VALIDATION)
        if watched:
            # By the packaged weights, rounding included: what is calibrated is what answers.
            found = ImageClassifier(folder).classify_squares(
                squares_of(watched, image_set, squares, request.seed)
            )
            truth = np.eye(len(image_set.labels), dtype=bool)[truth_of(watched, image_set)]
            card["temperature"] = round(fit_temperature(np.log(np.maximum(found, 1e-12)), truth), 4)
            write_card(folder, card)


def _card(request: Request, image_set: ImageSet, division: Division, fitted: _Fitted) -> dict[str, Any]:
    counts = Counter((v.split, image_set.images[v.image].label) for v in division.views)
    groups = {
        split: {division.groups[v.image] for v in division.of(split)} for split in (TRAIN, VALIDATION, TEST)
    }
    return {
        "name": f"image-{request.model}",
        "version": version("leukocds"),
        "task": TASK,
        "model": request.model,
        "protocol": request.protocol,
        "labels": list(image_set.labels),
        "input": {
            "size_px": request.size_px,
            "mean": list(fitted.mean),
            "std": list(fitted.std),
            "white_balance": request.white_balance,
            "fit": "whole picture, unstretched, edges mirrored to a square",
        },
        "temperature": 1.0,
        "weights": {"file": fitted.file},
        "split": {
            "seed": request.seed,
            "copies": request.copies,
            "images": {s: {n: counts[s, n] for n in image_set.labels} for s in (TRAIN, VALIDATION, TEST)},
            "groups": {s: len(found) for s, found in groups.items()},
            "notes": list(division.notes),
        },
        "reading": {"free_classes": request.free_classes, "subtypes": request.subtypes},
        "sources": {request.data.resolve().name: {"images": len(image_set.images)}},
        "training": {
            **fitted.training,
            "augmentation": "rotation, shift across and down, horizontal flip, zoom, shear; "
            + ("before the split" if request.protocol == LEAKY else "after the split, in training only"),
            "seed": request.seed,
            "date": datetime.now(UTC).date().isoformat(),
        },
        "metrics": {},
        "intended_use": INTENDED_USE,
        "files": {},
    }


def _told(image_set: ImageSet, division: Division) -> list[str]:
    lines = []
    for split in (TRAIN, VALIDATION, TEST):
        views = division.of(split)
        counts = Counter(image_set.images[v.image].label for v in views)
        told = ", ".join(f"{counts[label]} {label}" for label in image_set.labels)
        lines.append(f"{split}: {told}, in {len({division.groups[v.image] for v in views})} groups")
    return [*lines, *(f"note: {note}" for note in division.notes)]


def _normalisation(
    squares: npt.NDArray[np.uint8],
) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Mean and deviation of each channel over pictures ``(n, s, s, 3)``, of values 0 to 1, rounded."""
    pixels = squares[:, ::4, ::4].reshape(-1, 3).astype(np.float64) / 255
    mean, std = pixels.mean(axis=0), np.maximum(pixels.std(axis=0), 0.02)
    return (
        (round(float(mean[0]), 3), round(float(mean[1]), 3), round(float(mean[2]), 3)),
        (round(float(std[0]), 3), round(float(std[1]), 3), round(float(std[2]), 3)),
    )


def _fingerprint(image_set: ImageSet, division: Division) -> str:
    text = "\n".join(f"{image_set.images[v.image].sha256} {v.copy} {v.split}" for v in division.views)
    return hashlib.sha256(text.encode()).hexdigest()


def _run_folder(out: Path) -> Path:
    """Where the checkpoint lies until the package is written."""
    return out.with_name(f"{out.name}.run")


def _check_out(out: Path) -> None:
    """Now rather than after hours of training."""
    if out.exists() and not (out / CARD).is_file() and (not out.is_dir() or any(out.iterdir())):
        raise PackageError(f"{out} exists and is no model package: it is left as it is")
