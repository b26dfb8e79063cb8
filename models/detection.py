"""How well cells are found and scales estimated, measured: ``python -m models.detection --data FOLDER``.

FOLDER is laid out as ``../shared/smears``: ``detection/txl-pbc`` (fields with boxes about white cells, red cells and
platelets), ``cells`` with ``manifest.csv`` (single cells, each in the middle), ``originals`` (images as the imager
wrote them) and ``fields/taleqani``. Fields are divided in two within each laboratory: one half the thresholds of
`models.finding` may be chosen on, the other is only measured.
"""

import argparse
import csv
import hashlib
import json
import math
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from models.corpus import CROP_UM_PER_PX, FIELD_UM_PER_PX, load_pixels
from models.errors import CorpusError
from models.finding import FoundCell, find_candidates, find_cells
from models.scale import RED_CELL_UM, RedCells, measure_red_cells, study_scale
from models.stain import Rgb
from models.statistics import Figure, by_groups

WHITE, RED = 0, 1
#: A box that comes this close to the border (share of the image's longer side) is of a cell that the border cuts.
CUT_WITHIN = 0.01
#: How far from the middle of its image an expert's cell may be found.
CENTRED_UM = 2.0
#: Sources of single cells in the middle of their images, and how many of each are looked at (all where there are fewer)
CENTRED_SOURCES = ("barcelona", "hopkins", "lyon", "allidb2", "lisc")
_CELLS_A_SOURCE = 400
#: Labels of what has no nucleus, or none that is whole.
_NO_NUCLEUS = {"smudge_cell", "platelet", "giant_platelet", "platelet_clump", "artifact"}
#: Scales of the imagers, µm/px.
_ORIGINALS_UM_PER_PX = {"barcelona": 0.105, "hopkins": 0.105, "lyon": 0.167}
_FIELDS_A_DISEASE = 80

NOTES = (
    "Fields: detection/txl-pbc, by laboratory; the finder gets the scale estimated from the laboratory's red cells, "
    "never the boxes. The tuning half served to choose thresholds; held_out was measured when they stood.",
    "Found is what find_candidates returns whole: every image is a field here, even one that shows a single cell.",
    "A found cell is right when its centre lies in the box of a white cell that no other found cell has taken.",
    f"recall counts white boxes further than {CUT_WITHIN:.0%} of the image's longer side from its border: the finder "
    "sets aside, by design, cells whose nucleus the border cuts. recall_with_cut_boxes counts every white box, so such "
    "cells as missed; recall_set_aside_counted counts every box, and cells seen but set aside as found.",
    "scale_error is estimated over true scale, less 1; for txl-pbc true is 7.8 µm over the median whole red box (drawn "
    "by hand, outside of the outline), for taleqani the nominal 0.4 µm/px.",
    f"centred: share of experts' cells (train) with a nucleus centre within {CENTRED_UM:.0f} µm of the image's middle, "
    "where find_candidates puts it; a cell's middle is not its nucleus's where that lies at one side, hence "
    "centred_within_4_um; with_shortcut is what find_cells answers, which takes a cell where the imager put it. "
    "allidb2's non_blast holds platelets; lisc is shifted copies, so its cells are not in the middle.",
)


@dataclass(frozen=True, slots=True)
class Box:
    """A box of a field in pixels. kind: 0 white cell, 1 red cell, 2 platelet."""

    kind: int
    top: float
    left: float
    bottom: float
    right: float

    @property
    def side(self) -> float:
        return (self.bottom - self.top + self.right - self.left) / 2

    def cut(self, shape: tuple[int, ...]) -> bool:
        """Whether the border of an image of that shape cuts the cell."""
        margin = CUT_WITHIN * max(shape[:2])
        return (
            min(self.top, self.left) < margin
            or self.bottom > shape[0] - margin
            or self.right > shape[1] - margin
        )


@dataclass(frozen=True, slots=True, eq=False)
class Field:
    """A field with the boxes that experts drew."""

    name: str
    pixels: Rgb
    boxes: tuple[Box, ...]

    @property
    def laboratory(self) -> str:
        """Which of the two sets the image comes from, told by its size."""
        return "bccd" if self.pixels.shape[0] != self.pixels.shape[1] else "raabin"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m models.detection", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--data", type=Path, required=True, help="folder laid out as ../shared/smears")
    parser.add_argument("--out", type=Path, help="write the figures here, as JSON")
    parser.add_argument("--drawings", type=Path, help="folder for images with what was found drawn in")
    options = parser.parse_args(arguments)
    cv2.setNumThreads(1)
    try:
        figures = measure(options.data)
        if options.drawings:
            draw_fields(options.data, options.drawings)
    except CorpusError as error:
        print(error, file=sys.stderr)
        return 1
    for name, figure in figures.items():
        interval = f" ({figure.interval[0]:.3f} to {figure.interval[1]:.3f})" if figure.interval else ""
        print(f"{name:55} {figure.value:.3f}{interval} n={figure.n} {figure.unit}")
    if options.out:
        report = {
            "command": "python -m models.detection --data FOLDER",
            "figures": {name: figure.as_json() for name, figure in figures.items()},
            "notes": list(NOTES),
        }
        options.out.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return 0


def measure(data: Path) -> dict[str, Figure]:
    """All figures of the folder, by name. Raises CorpusError when a part is missing or cannot be read."""
    figures: dict[str, Figure] = {}
    fields = read_fields(data / "detection" / "txl-pbc")
    for laboratory in sorted({f.laboratory for f in fields}):
        own = [f for f in fields if f.laboratory == laboratory]
        figures |= field_figures(own, laboratory)
    rows = _manifest(data)
    for source in CENTRED_SOURCES:
        figures |= centring_figures(data, rows, source)
    for source, um_per_px in _ORIGINALS_UM_PER_PX.items():
        for folder in sorted(p for p in (data / "originals" / source).glob("*") if p.is_dir()):
            images = [load_pixels(p) for p in sorted(folder.iterdir())]
            figures |= scale_figures(images, um_per_px, f"originals/{source}/{folder.name}")
    for disease in ("ALL", "none"):
        of_disease = [r for r in rows if (r["source"], r["disease"]) == ("taleqani", disease)]
        images = [load_pixels(data / r["file"]) for r in _drawn(of_disease, _FIELDS_A_DISEASE)]
        figures |= scale_figures(images, FIELD_UM_PER_PX, f"taleqani/{disease}")
    return figures


def read_fields(folder: Path) -> list[Field]:
    """The fields of `folder` ``/images`` with the boxes of ``/labels`` (YOLO: kind, then middle and size as shares).

    Raises CorpusError when there are none, an image cannot be read, or a label is missing or malformed.
    """
    fields = []
    for path in sorted((folder / "images").glob("*")):
        pixels = load_pixels(path)
        fields.append(Field(path.name, pixels, _boxes(folder / "labels" / f"{path.stem}.txt", pixels.shape)))
    if not fields:
        raise CorpusError(f"no images in {folder / 'images'}")
    return fields


def halves(fields: Sequence[Field]) -> tuple[list[Field], list[Field]]:
    """Tuning and held-out half of one laboratory's fields: alternate ones in the order of their names' sha256."""
    ordered = sorted(fields, key=lambda f: hashlib.sha256(f.name.encode()).hexdigest())
    return ordered[0::2], ordered[1::2]


def field_figures(fields: Sequence[Field], laboratory: str) -> dict[str, Figure]:
    """Figures of one laboratory's two halves, found at the scale that the laboratory's red cells tell."""
    measured = [measure_red_cells(f.pixels) for f in fields]
    um_per_px = study_scale([m for m in measured if m is not None])
    if um_per_px is None:
        raise CorpusError(f"no red cell of the {laboratory} fields can be measured: their scale is unknown")
    names = [f.name for f in fields]
    reds = [[b.side for b in f.boxes if b.kind == RED and not b.cut(f.pixels.shape)] for f in fields]
    figures = {
        f"fields/{laboratory}/scale_error": by_groups(_scale_error(measured, reds), names, unit="fields")
    }
    for half, own in zip(("tuning", "held_out"), halves(fields), strict=True):
        figures |= _found_figures(own, um_per_px, f"fields/{laboratory}/{half}")
    return figures


def _found_figures(fields: Sequence[Field], um_per_px: float, prefix: str) -> dict[str, Figure]:
    right, found, whole, whole_right, boxes, seen = (np.zeros(len(fields)) for _ in range(6))
    spent = 0.0
    for i, field in enumerate(fields):
        started = time.perf_counter()
        candidates = find_candidates(field.pixels, um_per_px)
        spent += time.perf_counter() - started
        white = [b for b in field.boxes if b.kind == WHITE]
        taken = match(candidates.whole, white)
        right[i], found[i], boxes[i] = len(taken), len(candidates.whole), len(white)
        whole[i] = sum(not b.cut(field.pixels.shape) for b in white)
        whole_right[i] = sum(not white[b].cut(field.pixels.shape) for b in taken)
        seen[i] = len(match([*candidates.whole, *candidates.cut_off], white))
    names = [f.name for f in fields]
    megapixels = sum(f.pixels[..., 0].size for f in fields) / 1e6

    def share(part: npt.NDArray[np.float64], of: npt.NDArray[np.float64], unit: str) -> Figure:
        return by_groups(
            lambda r: float(part[r].sum() / of[r].sum()) if of[r].sum() else math.nan,
            names, n=int(of.sum()), unit=unit,
        )  # fmt: skip

    return {
        f"{prefix}/precision": share(right, found, "found cells"),
        f"{prefix}/recall": share(whole_right, whole, "white cells"),
        f"{prefix}/recall_with_cut_boxes": share(right, boxes, "white cells"),
        f"{prefix}/recall_set_aside_counted": share(seen, boxes, "white cells"),
        f"{prefix}/ms_per_megapixel": Figure(
            value=1000 * spent / megapixels, interval=None, n=len(fields), unit="fields"
        ),
    }


def match(cells: Sequence[FoundCell], boxes: Sequence[Box]) -> list[int]:
    """Numbers of the boxes in which a cell's centre lies; one cell a box, one box a cell, the nearest middle first."""
    near = []
    for c, cell in enumerate(cells):
        for b, box in enumerate(boxes):
            if box.top <= cell.row <= box.bottom and box.left <= cell.column <= box.right:
                off = math.hypot(
                    cell.row - (box.top + box.bottom) / 2, cell.column - (box.left + box.right) / 2
                )
                near.append((off, c, b))
    of_cell: set[int] = set()
    taken: list[int] = []
    for _, c, b in sorted(near):
        if c not in of_cell and b not in taken:
            of_cell.add(c)
            taken.append(b)
    return taken


def centring_figures(data: Path, rows: Sequence[dict[str, str]], source: str) -> dict[str, Figure]:
    """How often the cell in the middle of a source's single-cell images (train) is found there."""
    own = [
        r for r in rows
        if r["source"] == source and r["file"].startswith("cells/") and r["cell_type"] not in _NO_NUCLEUS
    ]  # fmt: skip
    own = _drawn(own, _CELLS_A_SOURCE)
    off, off_shortcut = [], []
    for row in own:
        pixels = load_pixels(data / row["file"])
        candidates = find_candidates(pixels, CROP_UM_PER_PX)
        off.append(_off_centre_um([*candidates.whole, *candidates.cut_off], pixels.shape))
        off_shortcut.append(_off_centre_um(find_cells(pixels, CROP_UM_PER_PX).cells, pixels.shape))
    groups = [r["group"] for r in own]

    def within(distances: list[float], limit: float) -> Figure:
        hits = np.array(distances) <= limit
        return by_groups(lambda r: float(hits[r].mean()), groups)

    return {
        f"cells/{source}/centred": within(off, CENTRED_UM),
        f"cells/{source}/centred_within_4_um": within(off, 2 * CENTRED_UM),
        f"cells/{source}/centred_with_shortcut": within(off_shortcut, CENTRED_UM),
    }


def _off_centre_um(cells: Sequence[FoundCell], shape: tuple[int, ...]) -> float:
    return min(
        (math.hypot(c.row - shape[0] / 2, c.column - shape[1] / 2) * CROP_UM_PER_PX for c in cells),
        default=math.inf,
    )


def scale_figures(images: Sequence[Rgb], um_per_px: float, name: str) -> dict[str, Figure]:
    """Error of a study's estimated scale against the true one, and the share of images with a measurable red cell."""
    measured = [measure_red_cells(pixels) for pixels in images]
    numbers = [str(i) for i in range(len(images))]
    seen = np.array([m is not None for m in measured])
    true = [[RED_CELL_UM / um_per_px]] * len(images)
    return {
        f"scale/{name}/scale_error": by_groups(_scale_error(measured, true), numbers, unit="images"),
        f"scale/{name}/images_with_red_cells": by_groups(
            lambda r: float(seen[r].mean()), numbers, unit="images"
        ),
    }


def _scale_error(
    measured: Sequence[RedCells | None], true_px: Sequence[Sequence[float]]
) -> Callable[[npt.NDArray[np.intp]], float]:
    """Of image numbers: the scale that the images' red cells tell over that of their true diameters, less 1."""

    def error(numbers: npt.NDArray[np.intp]) -> float:
        estimated = study_scale([m for i in numbers if (m := measured[i]) is not None])
        true = [d for i in numbers for d in true_px[i]]
        if estimated is None or not true:
            return math.nan
        return estimated * float(np.median(true)) / RED_CELL_UM - 1.0

    return error


def draw_fields(data: Path, out: Path) -> None:
    """Fields of other sources with what is found in them: green circles as large as the nuclei, red where cut off."""
    fields = data / "originals" / "fields"
    sets: dict[str, list[Path]] = {
        f.name: sorted(f.iterdir()) for f in sorted(fields.glob("*")) if f.is_dir()
    }
    of_taleqani = defaultdict(list)
    for row in _manifest(data):
        if row["source"] == "taleqani":
            of_taleqani[f"taleqani-{row['disease']}"].append(row)
    sets |= {name: [data / r["file"] for r in _drawn(rows, 12)] for name, rows in of_taleqani.items()}
    out.mkdir(parents=True, exist_ok=True)
    for name, paths in sets.items():
        images = [load_pixels(p) for p in paths]
        um_per_px = study_scale([m for i in images if (m := measure_red_cells(i)) is not None])
        for number, pixels in enumerate(images if um_per_px is not None else []):
            assert um_per_px is not None
            cv2.imwrite(str(out / f"{name}-{number:02}.png"), _drawing(pixels, um_per_px))


def _drawing(pixels: Rgb, um_per_px: float) -> npt.NDArray[np.uint8]:
    """BGR drawing, no side under 640 px."""
    zoom = max(1.0, 640 / min(pixels.shape[:2]))
    drawing = cv2.resize(pixels[..., ::-1], None, fx=zoom, fy=zoom, interpolation=cv2.INTER_CUBIC).astype(
        np.uint8
    )
    thickness = max(2, min(drawing.shape[:2]) // 300)
    candidates = find_candidates(pixels, um_per_px)
    for cells, colour in ((candidates.whole, (0, 200, 0)), (candidates.cut_off, (0, 0, 230))):
        for cell in cells:
            radius = math.sqrt(cell.area_um2 / math.pi) / um_per_px * zoom
            cv2.circle(
                drawing, (round(cell.column * zoom), round(cell.row * zoom)), round(radius), colour, thickness
            )
    return drawing


def _manifest(data: Path) -> list[dict[str, str]]:
    """Rows of split train."""
    path = data / "manifest.csv"
    if not path.is_file():
        raise CorpusError(f"no manifest.csv in {data}")
    with path.open(newline="", encoding="utf-8") as stream:
        rows: list[dict[str, Any]] = list(csv.DictReader(stream))
    needed = {"file", "source", "cell_type", "disease", "group", "split", "sha256"}
    if not rows or not needed <= rows[0].keys():
        raise CorpusError(f"{path} needs the columns {', '.join(sorted(needed))} and rows")
    return [r for r in rows if r["split"] == "train"]


def _drawn(rows: Sequence[dict[str, str]], count: int) -> list[dict[str, str]]:
    """`count` of the rows, always the same: by sha256 of the file."""
    return sorted(rows, key=lambda r: r["sha256"])[:count]


def _boxes(path: Path, shape: tuple[int, ...]) -> tuple[Box, ...]:
    if not path.is_file():
        raise CorpusError(f"no labels for that image: {path}")
    boxes = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        words = line.split()
        if not words:
            continue
        try:
            kind, (x, y, width, height) = int(words[0]), map(float, words[1:])
        except ValueError:
            raise CorpusError(f"{path}, line {number}: not a kind and four numbers: {line!r}") from None
        rows, columns = shape[:2]
        boxes.append(
            Box(
                kind, (y - height / 2) * rows, (x - width / 2) * columns,
                (y + height / 2) * rows, (x + width / 2) * columns,
            )
        )  # fmt: skip
    return tuple(boxes)


if __name__ == "__main__":
    sys.exit(main())
