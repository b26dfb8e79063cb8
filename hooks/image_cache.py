"""Decoded images on disk, each as a pyramid of arrays that tiles are cut from: bounded, the longest unused go first."""

import hashlib
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

Rgb = npt.NDArray[np.uint8]

#: A level is half as wide and high as the one above it; the lowest fits into one tile.
TILE_PX = 256


class ImageCache:
    """Safe for threads and for processes that share the folder.

    folder: holds pictures of patients' blood, so nobody else may read it. max_bytes: what it may take up, about.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self._folder, self._max_bytes = folder, max_bytes
        self._locks: dict[str, threading.Lock] = {}
        self._guard = threading.Lock()
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def held(self, name: str) -> Sequence[Rgb] | None:
        """The levels of that image where it is here already."""
        return _open(self._place(name))

    def pyramid(self, name: str, decode: Callable[[], Rgb]) -> Sequence[Rgb]:
        """The levels of that image, uint8 ``(r, c, 3)``, the smallest first; they are read from the disk as needed.

        decode: called where the image is not held; whatever it raises is raised here.
        """
        place = self._place(name)
        with self._lock(place.name):
            levels = _open(place)
            if levels is None:
                self._put(place, decode())
                levels = _open(place)
                if levels is None:
                    raise FileNotFoundError(f"{place} went away at once: the image cache is too small")
        return levels

    def _place(self, name: str) -> Path:
        return self._folder / hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:40]

    def _lock(self, key: str) -> threading.Lock:
        with self._guard:
            if len(self._locks) > 10_000:
                self._locks = {k: lock for k, lock in self._locks.items() if lock.locked()}
            return self._locks.setdefault(key, threading.Lock())

    def _put(self, place: Path, pixels: Rgb) -> None:
        work = Path(tempfile.mkdtemp(prefix="making-", dir=self._folder))
        try:
            for number, level in enumerate(_levels(pixels)):
                rows, columns = level.shape[:2]
                (work / f"{number:02d}-{rows}-{columns}.rgb").write_bytes(np.ascontiguousarray(level).data)
            self._make_room(sum(f.stat().st_size for f in work.iterdir()))
            work.rename(place)
        except OSError:
            if not place.is_dir():  # else another process made it meanwhile
                raise
        finally:
            shutil.rmtree(work, ignore_errors=True)

    def _make_room(self, size: int) -> None:
        held = []
        for entry in os.scandir(self._folder):
            try:
                if entry.is_dir() and not entry.name.startswith("making-"):
                    taken = sum(f.stat().st_size for f in os.scandir(entry.path))
                    held.append((entry.stat().st_mtime, taken, entry.path))
            except FileNotFoundError:
                continue  # another process removed it
        total = size + sum(taken for _, taken, _ in held)
        for _, taken, path in sorted(held):
            if total <= self._max_bytes:
                return
            # Arrays that someone is reading stay readable until he lets go of them.
            shutil.rmtree(path, ignore_errors=True)
            total -= taken


def _open(place: Path) -> Sequence[Rgb] | None:
    try:
        levels = [_mapped(file) for file in sorted(place.glob("*.rgb"))]
        os.utime(place)
    except FileNotFoundError:
        return None
    return levels or None


def _mapped(file: Path) -> Rgb:
    # The size stands in the name: NumPy's own header is parsed as Python, which is slow and not safe for threads.
    _, rows, columns = file.stem.split("-")
    return np.memmap(file, np.uint8, "r", shape=(int(rows), int(columns), 3))


def _levels(pixels: Rgb) -> list[Rgb]:
    """The smallest first."""
    levels = [pixels]
    while max(levels[-1].shape[:2]) > TILE_PX:
        height, width = levels[-1].shape[:2]
        half = (max(1, -(-width // 2)), max(1, -(-height // 2)))
        levels.append(cv2.resize(levels[-1], half, interpolation=cv2.INTER_AREA).astype(np.uint8))
    return levels[::-1]
