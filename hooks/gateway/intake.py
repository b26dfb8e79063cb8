"""How a picture comes in: from the watched folder once it is completely written, or by HTTP.

A file in `in/` (and its subfolders) is taken when it has stayed as it is for LEUKOCDS_GATEWAY_STABLE_S. Names that
begin with a dot or end in .part, .partial, .tmp or .crdownload are files in the making and left alone; so a camera's
software that writes `x.jpg.part` and renames it is safe whatever its speed. The data of `x.jpg` stand in `x.jpg.json`,
else `x.json`, else `slide.json` for all pictures of a subfolder; the sidecar is best written last. A picture without
one waits LEUKOCDS_GATEWAY_SIDECAR_WAIT_S for it, and then for a person; a sidecar without a picture is set aside after
as long.
"""

import hashlib
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import structlog

from cds.errors import BadRequest
from cds.settings import Settings
from cds.slide import Slide
from hooks.gateway.folders import DATA, REASON, WORK, Folders, image_file, in_our_words, take_in, write_whole
from hooks.gateway.journal import ImageState, Journal, JournalledImage, require
from hooks.gateway.sidecar import MAX_BYTES, parse_sidecar, sidecar_json

_log = structlog.get_logger(__name__)

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff")
#: Data of all pictures in a subfolder that have none of their own; it stays where it is.
FOLDER_DATA = "slide.json"
#: Ends the name of a sidecar that was set aside.
ORPHAN = ".orphan"
_IN_THE_MAKING = (".part", ".partial", ".tmp", ".crdownload")
_MAX_NAME = 100


@dataclass(frozen=True, slots=True)
class _Seen:
    """Size and time of change of a file, and since when they are so (monotonic seconds)."""

    size: int
    changed_ns: int
    since: float


class Intake:
    """wall, clock: seconds since 1970, and monotonic. Every method raises DiskTrouble when the disk fails."""

    def __init__(
        self,
        settings: Settings,
        folders: Folders,
        journal: Journal,
        *,
        wall: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings, self._folders, self._journal = settings, folders, journal
        self._wall, self._clock = wall, clock
        self._seen: dict[Path, _Seen] = {}
        self._left: set[Path] = set()
        # Folders without a row are what a crash leaves, unless another thread is about to write the row.
        self._lock = threading.RLock()
        self._torn = False

    def scan(self) -> int:
        """Take what is completely written; the number of pictures taken."""
        now, taken = self._clock(), 0
        present: dict[Path, _Seen] = {}
        for path in self._files():
            if (seen := self._look(path, now)) is not None:
                present[path] = seen
        self._seen = present
        if self._torn:
            self.adopt()
        stable = {p for p, seen in present.items() if now - seen.since >= self._settings.gateway_stable_s}
        for path in sorted(stable):
            if path.suffix.lower() in IMAGE_SUFFIXES and path.exists():
                taken += self._take(path, stable, now)
        for path in sorted(p for p in stable if p.suffix.lower() == ".json" and p.name != FOLDER_DATA):
            if path.exists():  # else it went with its picture
                self._late(path, now)
        return taken

    def pending(self) -> int:
        """Pictures that the last scan saw and that may be taken by and by."""
        return sum(p.suffix.lower() in IMAGE_SUFFIXES and p.exists() for p in self._seen.keys() - self._left)

    def receive(self, content: bytes, name: str, slide: Slide | None) -> tuple[JournalledImage, bool]:
        """A picture that came by HTTP, on the disk and in the journal; False if the same had come before."""
        digest = hashlib.sha256(content).hexdigest()
        known = self._known(digest, slide)
        if known is not None:
            return known, False
        with self._new_folder() as (image_id, folder):
            if slide is not None:
                write_whole(folder / DATA, sidecar_json(slide))
            write_whole(folder / _usable(name), content)
            return self._enter(image_id, folder), True

    def adopt(self) -> int:
        """After a crash or a full disk: enter into the journal what lies in `work` and is not in it; the number of such
        pictures."""
        with self._lock:
            adopted = self._adopt()
            self._torn = False
            return adopted

    def _adopt(self) -> int:
        adopted = 0
        for image_id in self._folders.ids(WORK):
            if self._journal.image(image_id) is not None:
                continue
            folder = self._folders.root / WORK / image_id
            if image_file(folder) is None:
                # Nothing came: its picture is still in `in`, or its sender was never told that we have it.
                with in_our_words():
                    for leftover in folder.iterdir():
                        leftover.unlink()
                    folder.rmdir()
                continue
            self._enter(image_id, folder)
            adopted += 1
        for image in self._journal.images(ImageState.WAITING):
            found = self._folders.find(image.id)
            if found is not None and (found / DATA).is_file():
                self._read_data(image.id, found)  # they arrived, and we died before reading them
        return adopted

    def _files(self) -> list[Path]:
        found: list[Path] = []
        with in_our_words():
            for folder, subfolders, names in os.walk(self._folders.incoming):
                subfolders[:] = [s for s in subfolders if not s.startswith(".")]
                found += [Path(folder) / n for n in names if not _is_in_the_making(n)]
        return found

    def _look(self, path: Path, now: float) -> _Seen | None:
        try:
            state = path.lstat()
        except OSError:  # gone since it was listed
            return None
        if not path.is_file() or path.is_symlink():
            return None
        before = self._seen.get(path)
        if before and (before.size, before.changed_ns) == (state.st_size, state.st_mtime_ns):
            return before
        return _Seen(state.st_size, state.st_mtime_ns, now)

    def _take(self, path: Path, stable: set[Path], now: float) -> bool:
        too_large = path.stat().st_size > self._settings.gateway_max_image_mb << 20
        if too_large or not os.access(path, os.R_OK):
            if path not in self._left:  # say it once
                self._left.add(path)
                why = "larger than LEUKOCDS_GATEWAY_MAX_IMAGE_MB" if too_large else "it may not be read"
                _log.warning("image left in the folder", reason=why)
            return False
        sidecar = self._sidecar(path)
        if sidecar is not None and sidecar not in stable:
            return False  # being written
        alone = sidecar is None
        if alone and now - self._seen[path].since < self._settings.gateway_sidecar_wait_s:
            return False
        with self._new_folder() as (image_id, folder):
            if sidecar is not None and sidecar.name == FOLDER_DATA:
                with in_our_words():
                    write_whole(folder / DATA, sidecar.read_bytes()[: MAX_BYTES + 1])
                sidecar = None
            # The picture first: a sidecar left behind by a crash still finds it, by its name.
            take_in(path, folder / _usable(path.name))
            if sidecar is not None:
                take_in(sidecar, folder / DATA)
            self._enter(image_id, folder)
        return True

    @contextmanager
    def _new_folder(self) -> Iterator[tuple[str, Path]]:
        """An id and its folder in `work`. What fails in between is put right by the next scan."""
        with self._lock:
            self._torn = True
            image_id = _new_id(self._wall())
            yield image_id, self._folders.new(image_id)
            self._torn = False

    def _sidecar(self, image: Path) -> Path | None:
        names = [f"{image.name}.json", f"{image.stem}.json"]
        if image.parent != self._folders.incoming:
            names.append(FOLDER_DATA)
        paths = (image.with_name(name) for name in names)
        return next((path for path in paths if path.is_file() and not path.is_symlink()), None)

    def _late(self, sidecar: Path, now: float) -> None:
        """A sidecar whose picture has been taken already and waits for it; or one whose picture does not come."""
        name = _usable(sidecar.name.removesuffix(".json"))
        with in_our_words():
            others = [p.name for p in sidecar.parent.iterdir() if p.suffix not in (".json", ORPHAN)]
        if any(_stem(other) == _stem(name) for other in others):
            return  # it goes with that one, whole or in the making
        suffixes = [*IMAGE_SUFFIXES, *(s.upper() for s in IMAGE_SUFFIXES)]
        named_whole = Path(name).suffix.lower() in IMAGE_SUFFIXES
        for candidate in [name] if named_whole else [name + suffix for suffix in suffixes]:
            if (image := self._journal.waiting_under(candidate)) is not None:
                with self._folders.in_turn():
                    folder = self._folders.find(image.id)
                    if folder is not None:
                        take_in(sidecar, folder / DATA)
                        self._read_data(image.id, folder)
                return
        if now - self._seen[sidecar].since >= self._settings.gateway_sidecar_wait_s:
            # The next picture of that name may be another patient's.
            with in_our_words():
                sidecar.replace(sidecar.with_name(sidecar.name + ORPHAN))
            _log.warning("sidecar set aside: its picture did not come")

    def _enter(self, image_id: str, folder: Path) -> JournalledImage:
        """Into the journal, in one step: what another thread sees of it has its data already."""
        path = image_file(folder)
        if path is None:
            raise BadRequest("an image's folder holds no image")
        with in_our_words():
            content = path.read_bytes()
        accession = problem = None
        if (folder / DATA).is_file():
            try:
                accession = read_data(folder).accession_number
            except BadRequest as wrong:
                problem = str(wrong)
        self._journal.add(
            image_id,
            name=path.name,
            sha256=hashlib.sha256(content).hexdigest(),
            now=self._wall(),
            accession=accession,
            problem=problem,
        )
        _log.info("image taken", image=image_id, bytes=len(content))
        return require(self._journal.image(image_id))

    def _read_data(self, image_id: str, folder: Path) -> None:
        try:
            slide = read_data(folder)
        except BadRequest as wrong:
            self._journal.set_state(image_id, ImageState.QUARANTINED, reason=str(wrong))
        else:
            self._journal.set_data(image_id, slide.accession_number)

    def _known(self, digest: str, slide: Slide | None) -> JournalledImage | None:
        """The same picture under the same number, come before: a camera that had no answer sends again."""
        states = (ImageState.READY, ImageState.STORED) if slide else (ImageState.WAITING,)
        return self._journal.by_content(digest, slide.accession_number if slide else None, *states)


def read_data(folder: Path) -> Slide:
    """The data in an image's folder. Raises BadRequest naming what is wrong with them."""
    path = folder / DATA
    if not path.is_file():
        raise BadRequest("its data are missing")
    with in_our_words():
        return parse_sidecar(path.read_bytes()[: MAX_BYTES + 1])


def _is_in_the_making(name: str) -> bool:
    return name.startswith((".", "~")) or name.lower().endswith(_IN_THE_MAKING)


def _stem(name: str) -> str:
    """What a picture, finished or not, and its sidecar have in common."""
    stem = _plain(name.lstrip(".~")).lower()
    for suffix in (*_IN_THE_MAKING, *IMAGE_SUFFIXES):
        stem = stem.removesuffix(suffix)
    return stem


def _new_id(now: float) -> str:
    """Sorts by time, and nobody guesses it."""
    return f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime(now))}-{secrets.token_hex(4)}"


def _usable(name: str) -> str:
    """A file name out of what a sender calls its picture."""
    plain = _plain(name)
    return plain if plain and plain not in (DATA, REASON) and not _is_in_the_making(plain) else "image"


def _plain(name: str) -> str:
    plain = "".join(c if c.isalnum() or c in "-_." else "_" for c in Path(name.replace("\\", "/")).name)
    return plain.lstrip(".")[-_MAX_NAME:]
