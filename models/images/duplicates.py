"""Pictures that are one another's copies: to the byte, or re-encoded, resized, turned or mirrored."""

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

#: Differing bits of the difference hash up to which two pictures are compared closely, and the correlation of their
#: thumbnails from which they are copies.
_MAX_BITS = 8
_MIN_CORRELATION = 0.985
_THUMB_PX = 32
#: Rows compared with all others at once: keeps the comparison of ten thousand pictures within some hundred megabytes.
_BLOCK = 256


def near_duplicates(squares: npt.NDArray[np.uint8]) -> list[tuple[int, int]]:
    """Pairs ``(i, j)``, i < j, of pictures uint8 RGB ``(n, s, s, 3)`` that are copies of one another.

    First by difference hash (Krawetz 2013) in any of the eight ways round, then by the correlation of thumbnails with
    the mean taken out, which a like picture of another cell does not reach.
    """
    thumbs = [cv2.resize(s, (_THUMB_PX, _THUMB_PX), interpolation=cv2.INTER_AREA) for s in squares]
    grey = np.array([cv2.cvtColor(t, cv2.COLOR_RGB2GRAY) for t in thumbs], np.float32).reshape(
        -1, _THUMB_PX, _THUMB_PX
    )
    upright = np.array([_hash(g) for g in grey], np.uint64)
    pairs: set[tuple[int, int]] = set()
    for way in range(8):
        turned = np.array([_hash(_turn(g, way)) for g in grey], np.uint64)
        for start in range(0, len(grey), _BLOCK):
            bits = np.bitwise_count(upright[start : start + _BLOCK, None] ^ turned[None])
            for i, j in np.argwhere(bits <= _MAX_BITS):
                first, second = start + int(i), int(j)
                if first < second and _correlation(grey[first], _turn(grey[second], way)) >= _MIN_CORRELATION:
                    pairs.add((first, second))
    return sorted(pairs)


def clusters(count: int, pairs: Sequence[tuple[int, int]]) -> npt.NDArray[np.int64]:
    """Number of each item's cluster ``(count,)`` where every pair is joined: the least number of its members."""
    root = list(range(count))

    def find(i: int) -> int:
        while root[i] != i:
            root[i] = root[root[i]]
            i = root[i]
        return i

    for i, j in pairs:
        a, b = find(i), find(j)
        root[max(a, b)] = min(a, b)
    return np.array([find(i) for i in range(count)], np.int64)


def _turn(picture: npt.NDArray[np.float32], way: int) -> npt.NDArray[np.float32]:
    """One of the eight ways round of a square picture ``(s, s)``: quarter turns, from the fifth on mirrored too."""
    return np.rot90(picture[:, ::-1] if way >= 4 else picture, way % 4)


def _hash(picture: npt.NDArray[np.float32]) -> int:
    """Sixty-four bits: whether it grows brighter to the right, on a grid of eight rows by nine columns."""
    small = cv2.resize(np.ascontiguousarray(picture), (9, 8), interpolation=cv2.INTER_AREA)
    bits = (np.diff(small, axis=1) > 0).ravel()
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def _correlation(a: npt.NDArray[np.float32], b: npt.NDArray[np.float32]) -> float:
    a, b = a - a.mean(), b - b.mean()
    norm = float(np.sqrt((a * a).sum() * (b * b).sum()))
    # Two blank pictures are alike.
    return float((a * b).sum()) / norm if norm > 1e-3 else 1.0
