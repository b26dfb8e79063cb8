"""Packages of task `image`: the same folder, card and digests as the reader's, with a card of their own kind."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from cds.errors import PackageError
from models.images.kinds import MODELS, PROTOCOLS, SPLITS, TASK
from models.package import three_of, value_of, verified_document

NETWORK_FILE, MACHINE_FILE = "weights.onnx", "machine.npz"
SPLIT_FILE, HISTORY_FILE = "split.csv", "history.json"

LARGEST_INPUT_PX = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageCard:
    """What answering needs to know from a card, checked. The whole card stands in `document`."""

    name: str
    version: str
    #: One of `kinds.MODELS` and of `kinds.PROTOCOLS`.
    model: str
    protocol: str
    labels: tuple[str, ...]
    #: Side in pixels of the square that the whole picture is brought to, and its normalisation (RGB, 0 to 1).
    input_px: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    #: Whether the background is made neutral first (see `models.white_balance`).
    white_balance: bool
    temperature: float
    weights_file: str
    document: Mapping[str, Any]

    @property
    def flips(self) -> int:
        """Each image is seen once: a whole picture may have a right way up."""
        return 1


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitRow:
    """One view of the split that a package was trained by: the image by its sha256, and its augmented copy's number."""

    sha256: str
    copy: int
    split: str
    group: str


def load_image_card(folder: Path) -> ImageCard:
    """The card, after every file that it lists was found unaltered. Raises PackageError saying what is wrong."""
    document = verified_document(folder, task=TASK)
    picture, labels = value_of(document, "input", dict), value_of(document, "labels", list)
    if (
        len(labels) < 2
        or len(set(labels)) != len(labels)
        or not all(isinstance(x, str) and x for x in labels)
    ):
        raise PackageError("labels must be two different names or more")
    size_px = int(value_of(picture, "size_px", int))
    temperature = float(value_of(document, "temperature", (int, float)))
    if not temperature > 0 or not 0 < size_px <= LARGEST_INPUT_PX:
        raise PackageError(f"temperature must be above zero, and input.size_px 1 to {LARGEST_INPUT_PX}")
    white_balance = picture.get("white_balance")
    if not isinstance(white_balance, bool):
        raise PackageError("the card's input.white_balance must be true or false")
    model, protocol = value_of(document, "model", str), value_of(document, "protocol", str)
    if model not in MODELS or protocol not in PROTOCOLS:
        raise PackageError(f"model {model!r} by protocol {protocol!r} is not known here")
    weights_file = value_of(value_of(document, "weights", dict), "file", str)
    if absent := {weights_file, SPLIT_FILE, HISTORY_FILE}.difference(document["files"]):
        raise PackageError(f"not among the card's files: {', '.join(sorted(absent))}")
    std = three_of(picture, "std")
    if min(std) <= 0:
        raise PackageError("the card's input.std must be above zero")
    return ImageCard(
        name=value_of(document, "name", str), version=value_of(document, "version", str), model=model,
        protocol=protocol, labels=tuple(labels), input_px=size_px, mean=three_of(picture, "mean"), std=std,
        white_balance=white_balance, temperature=temperature, weights_file=weights_file,
        document=MappingProxyType(document),
    )  # fmt: skip


def split_table(rows: Sequence[SplitRow]) -> str:
    """The rows as CSV."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("sha256", "copy", "split", "group"))
    writer.writerows((row.sha256, row.copy, row.split, row.group) for row in rows)
    return text.getvalue()


def read_split(folder: Path) -> list[SplitRow]:
    """The split that a package was trained by. Raises PackageError when its table is malformed."""
    with (folder / SPLIT_FILE).open(newline="", encoding="utf-8") as stream:
        try:
            rows = [
                SplitRow(sha256=r["sha256"], copy=int(r["copy"]), split=r["split"], group=r["group"])
                for r in csv.DictReader(stream)
            ]
        except (KeyError, ValueError, TypeError) as error:
            raise PackageError(f"{SPLIT_FILE} is malformed: {error!r}") from error
    if wrong := [row for row in rows if row.split not in SPLITS or row.copy < 0]:
        raise PackageError(f"{SPLIT_FILE} is malformed: {wrong[0]}")
    return rows
