"""Nuclei of a smear at the working scale: threshold on the nuclear signal, division at waists, lobes joined again."""

import math
from dataclasses import dataclass, field

import cv2
import numpy as np
import numpy.typing as npt

from models.stain import Rgb, Signal, chromatin_threshold, green_density, nuclear_signal

#: Nuclei are sought at this scale (a red cell is 25 px across), whatever the image's own.
WORK_UM_PER_PX = 0.3

#: Area of a small nucleus, which the threshold expects at least once.
_NUCLEUS_UM2 = 20.0
_SMALLEST_PIECE_UM2 = 2.5
#: Larger objects are tissue, clots or writing: no division makes cells of them.
_UNDIVIDED_UM2 = 4000.0
#: A waist narrower than this share of the thinner neighbour's width divides them.
_WAIST = 0.75
#: Inscribed radius below which a piece is a lobe, not a nucleus of its own, where it touches its neighbour and where
#: a gap is between; lobes no further apart than the gap, in a cell no larger than the extent, are one nucleus.
_TOUCHING_LOBE_RADIUS_UM = 2.9
_LOBE_RADIUS_UM = 2.4
_TOUCHING_UM = 1.0
_LOBE_GAP_UM = 2.4
_LOBED_EXTENT_UM = 16.0
#: Share of its darkest part's signal from which a pixel of an object belongs to the nucleus.
_OWN_SHARE = 0.5

#: What is larger than this and longer than wide by that factor is two nuclei, where it has two pieces of that area.
_TWO_NUCLEI_UM2 = 190.0
_LONG = 1.35
_PARTED_NUCLEUS_UM2 = 50.0

_Labels = npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Nucleus:
    """One nucleus, whole. row, column: centroid; box: top, left, bottom, right; all in working pixels."""

    row: float
    column: float
    box: tuple[int, int, int, int]
    area_um2: float
    #: Area of its largest lobe, or its own where it has none.
    largest_lobe_um2: float
    #: Mean nuclear signal, optical density.
    signal: float


@dataclass(slots=True, eq=False)
class _Piece:
    number: int
    area: float
    radius: float
    box: tuple[int, int, int, int]
    row: float
    column: float
    signal: float
    outline: npt.NDArray[np.float32] = field(repr=False)


def segment_nuclei(pixels: Rgb) -> list[Nucleus]:
    """Nuclei in ``(r, c, 3)`` RGB `pixels` at WORK_UM_PER_PX, of any size down to single lobes, top to bottom."""
    signal = nuclear_signal(pixels, sigma_px=1.2)
    threshold = chromatin_threshold(signal, green_density(pixels), _NUCLEUS_UM2 / WORK_UM_PER_PX**2)
    if threshold is None:
        return []
    labels, distance = _divide(_own_thresholds(signal, threshold))
    groups = _join(_pieces(labels, distance, signal), _waists(labels, distance))
    return [_whole(part) for group in groups for part in _part(group)]


def _own_thresholds(signal: Signal, threshold: float) -> npt.NDArray[np.uint8]:
    """Mask of chromatin: within each object above `threshold`, what exceeds half of that object's own darkest part.

    So the basophilic cytoplasm of a dark cell falls away while a pale nucleus beside it stays whole.
    """
    count, objects, stats, _ = cv2.connectedComponentsWithStats(_tidy(signal > threshold))
    mask = np.zeros(signal.shape, np.bool_)
    for number in range(1, count):
        left, top, width, height = stats[number, :4]
        window = np.s_[top : top + height, left : left + width]
        inside = objects[window] == number
        values = signal[window]
        mask[window] |= inside & (values > _OWN_SHARE * float(np.quantile(values[inside], 0.9)))
    return _tidy(mask)


def _tidy(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint8]:
    """Without specks; small holes inside nuclei filled."""
    tidy = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_OPEN, _disc(0.35))
    tidy = cv2.morphologyEx(tidy, cv2.MORPH_CLOSE, _disc(0.35))
    contours, hierarchy = cv2.findContours(tidy, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    for index, contour in enumerate(contours):
        is_hole = hierarchy[0][index][3] >= 0
        if is_hole and cv2.contourArea(contour) * WORK_UM_PER_PX**2 < 8.0:
            cv2.drawContours(tidy, contours, index, 1, cv2.FILLED)
    return tidy.astype(np.uint8)


def _divide(mask: npt.NDArray[np.uint8]) -> tuple[_Labels, Signal]:
    """`mask` divided by watershed into numbered basins, and each pixel's distance to what is outside of it."""
    padded = cv2.copyMakeBorder(mask, 1, 1, 1, 1, cv2.BORDER_REPLICATE)
    depth = cv2.distanceTransform(padded, cv2.DIST_L2, 5)[1:-1, 1:-1]
    distance: Signal = cv2.GaussianBlur(depth, (0, 0), 1.0).astype(np.float32)
    peaks = (distance >= cv2.dilate(distance, _disc(1.5)) - 1e-4) & (mask > 0)
    tops = cv2.dilate(peaks.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(np.uint8) & mask
    _, seeds = cv2.connectedComponents(tops)
    labels = _watershed(distance, seeds.astype(np.int32), mask)
    return labels, distance


def _pieces(labels: _Labels, distance: Signal, signal: Signal) -> list[_Piece]:
    pieces = []
    for number, (top, left, bottom, right) in _boxes(labels).items():
        inside = labels[top:bottom, left:right] == number
        area = float(np.count_nonzero(inside))
        if area * WORK_UM_PER_PX**2 < _SMALLEST_PIECE_UM2:
            continue
        rows, columns = np.nonzero(inside)
        contours, _ = cv2.findContours(inside.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        outline = np.concatenate(contours)[:, 0, ::-1].astype(np.float32) + np.array((top, left), np.float32)
        pieces.append(
            _Piece(
                number=number, area=area, radius=float(distance[top:bottom, left:right][inside].max()),
                box=(top, left, bottom, right), row=top + float(rows.mean()), column=left + float(columns.mean()),
                signal=float(signal[top:bottom, left:right][inside].mean()), outline=outline,
            )
        )  # fmt: skip
    return pieces


def _watershed(distance: Signal, seeds: _Labels, mask: npt.NDArray[np.uint8]) -> _Labels:
    """Basins of `seeds` within `mask`, grown from the ridge down (OpenCV's own watershed weighs edges, not heights)."""
    labels = seeds.copy()
    count, objects, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=4)
    for number in range(1, count):
        left, top, width, height, area = stats[number]
        window = np.s_[top : top + height, left : left + width]
        inside = objects[window] == number
        own = np.where(inside, seeds[window], 0)
        if area * WORK_UM_PER_PX**2 > _UNDIVIDED_UM2:
            labels[window][inside] = own.max()
        else:
            labels[window][inside] = _grow(own, np.where(inside, distance[window], np.float32(-1)))[inside]
    return labels


def _grow(seeds: _Labels, distance: Signal) -> _Labels:
    """`seeds` grown level by level over one object, where `distance` is not below 0."""
    if seeds.max() == 0 or np.count_nonzero(np.bincount(seeds.ravel())[1:]) == 1:
        return np.full_like(seeds, seeds.max())
    labels = seeds.astype(np.float32)
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    for level in np.arange(np.floor(distance.max()), -1.0, -1.0):
        land = distance > level
        while True:
            grown = np.where(land & (labels == 0), cv2.dilate(labels, cross), labels)
            if np.array_equal(grown, labels):
                break
            labels = grown
    return labels.astype(np.int32)


def _waists(labels: _Labels, distance: Signal) -> dict[tuple[int, int], float]:
    """For each two basins that touch, half the width of the waist between them: the highest pass, in pixels."""
    waists: dict[tuple[int, int], float] = {}
    for here, there in ((np.s_[:-1, :], np.s_[1:, :]), (np.s_[:, :-1], np.s_[:, 1:])):
        a, b = labels[here], labels[there]
        touch = (a > 0) & (b > 0) & (a != b)
        height = np.minimum(distance[here], distance[there])[touch]
        for i, j, h in zip(a[touch].tolist(), b[touch].tolist(), height.tolist(), strict=True):
            key = (min(i, j), max(i, j))
            waists[key] = max(waists.get(key, 0.0), h)
    return waists


def _boxes(labels: _Labels) -> dict[int, tuple[int, int, int, int]]:
    rows, columns = np.nonzero(labels > 0)
    numbers = labels[rows, columns]
    order = np.argsort(numbers, kind="stable")
    rows, columns, numbers = rows[order], columns[order], numbers[order]
    values, starts = np.unique(numbers, return_index=True)
    boxes = {}
    for value, r, c in zip(values, np.split(rows, starts[1:]), np.split(columns, starts[1:]), strict=True):
        boxes[int(value)] = (int(r.min()), int(c.min()), int(r.max()) + 1, int(c.max()) + 1)
    return boxes


def _join(pieces: list[_Piece], waists: dict[tuple[int, int], float]) -> list[list[_Piece]]:
    """Pieces grouped into nuclei: what no real waist divides, then lobes with their nearest."""
    groups = {id(p): [p] for p in pieces}
    by_number = {p.number: p for p in pieces}

    def merge(a: _Piece, b: _Piece) -> None:
        if groups[id(a)] is not groups[id(b)]:
            groups[id(a)].extend(groups[id(b)])
            for piece in groups[id(a)]:
                groups[id(piece)] = groups[id(a)]

    for (i, j), waist in waists.items():
        if i in by_number and j in by_number:
            a, b = by_number[i], by_number[j]
            if waist >= _WAIST * min(a.radius, b.radius):
                merge(a, b)
    for gap, a, b in sorted(_near(pieces), key=lambda near: near[0]):
        first, second = groups[id(a)], groups[id(b)]
        thinner = min(max(p.radius for p in first), max(p.radius for p in second)) * WORK_UM_PER_PX
        touching = gap * WORK_UM_PER_PX <= _TOUCHING_UM
        lobe = thinner < (_TOUCHING_LOBE_RADIUS_UM if touching else _LOBE_RADIUS_UM)
        if lobe and _extent_um(first + second) <= _LOBED_EXTENT_UM:
            merge(a, b)
    unique = {id(g): g for g in groups.values()}
    return sorted(unique.values(), key=lambda g: (g[0].box[0], g[0].box[1]))


def _part(group: list[_Piece]) -> list[list[_Piece]]:
    """`group` as it is, or parted into its large pieces where it is too large and too long for one nucleus.

    Nuclei that lie against or over one another have hardly a waist between them.
    """
    large = [p for p in group if p.area * WORK_UM_PER_PX**2 >= _PARTED_NUCLEUS_UM2]
    if len(large) < 2 or sum(p.area for p in group) * WORK_UM_PER_PX**2 < _TWO_NUCLEI_UM2:
        return [group]
    _, (width, height), _ = cv2.minAreaRect(np.concatenate([p.outline for p in group]))
    if max(width, height) < _LONG * min(width, height):
        return [group]
    parts = {p.number: [p] for p in large}
    for piece in group:
        if piece.number not in parts:
            nearest = min(large, key=lambda p: math.hypot(p.row - piece.row, p.column - piece.column))
            parts[nearest.number].append(piece)
    return list(parts.values())


def _near(pieces: list[_Piece]) -> list[tuple[float, _Piece, _Piece]]:
    """Pairs of pieces no further apart than lobes are, with the gap in pixels."""
    limit = _LOBE_GAP_UM / WORK_UM_PER_PX
    # Parts of one cell have their middles in the same or the next square of that cell's size.
    square = _LOBED_EXTENT_UM / WORK_UM_PER_PX
    squares: dict[tuple[int, int], list[_Piece]] = {}
    for piece in pieces:
        squares.setdefault((int(piece.row // square), int(piece.column // square)), []).append(piece)
    near = []
    for (down, across), members in squares.items():
        about = [p for i in (-1, 0, 1) for j in (-1, 0, 1) for p in squares.get((down + i, across + j), ())]
        for a in members:
            for b in about:
                if a.number >= b.number or not _boxes_within(a.box, b.box, limit):
                    continue
                gap = float(np.sqrt(((a.outline[:, None] - b.outline[None]) ** 2).sum(-1).min()))
                if gap <= limit:
                    near.append((gap, a, b))
    return near


def _boxes_within(a: tuple[int, int, int, int], b: tuple[int, int, int, int], limit: float) -> bool:
    return (
        max(a[0], b[0]) <= min(a[2], b[2]) + limit and max(a[1], b[1]) <= min(a[3], b[3]) + limit
    )  # fmt: skip


def _extent_um(pieces: list[_Piece]) -> float:
    height = max(p.box[2] for p in pieces) - min(p.box[0] for p in pieces)
    width = max(p.box[3] for p in pieces) - min(p.box[1] for p in pieces)
    return max(height, width) * WORK_UM_PER_PX


def _box(pieces: list[_Piece]) -> tuple[int, int, int, int]:
    return (
        min(p.box[0] for p in pieces), min(p.box[1] for p in pieces),
        max(p.box[2] for p in pieces), max(p.box[3] for p in pieces),
    )  # fmt: skip


def _whole(pieces: list[_Piece]) -> Nucleus:
    area = sum(p.area for p in pieces)
    return Nucleus(
        row=sum(p.row * p.area for p in pieces) / area + 0.5,
        column=sum(p.column * p.area for p in pieces) / area + 0.5,
        box=_box(pieces),
        area_um2=area * WORK_UM_PER_PX**2,
        largest_lobe_um2=max(p.area for p in pieces) * WORK_UM_PER_PX**2,
        signal=sum(p.signal * p.area for p in pieces) / area,
    )


def _disc(radius_um: float) -> npt.NDArray[np.uint8]:
    radius = max(1, round(radius_um / WORK_UM_PER_PX))
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1)).astype(np.uint8)
