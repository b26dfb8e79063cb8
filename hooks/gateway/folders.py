"""Where the gateway's files lie: one folder for each image, in the place that its state stands for.

All places are folders of one file system, so that an image moves by one rename, which happens wholly or not at all.
What a folder holds counts once it has been written to the disk: `fsync` of the file, then of the folder that names it
(POSIX promises no less, and no more).
"""

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from cds.errors import ConfigurationError, LeukoError

#: Where microscopes leave their files. The other places are the gateway's own.
IN = "in"
WAITING, WORK, QUARANTINE, STORED, DISCARDED = "waiting", "work", "quarantine", "stored", "discarded"
PLACES = (WAITING, WORK, QUARANTINE, STORED, DISCARDED)
#: In an image's folder: its data, and why it is where it is.
DATA, REASON = "sidecar.json", "reason.txt"
_UNFINISHED = ".part"


class DiskTrouble(LeukoError):
    """The gateway's folder cannot be written (no space, no rights). Nothing is lost; tried again."""


class Folders:
    """The folder that LEUKOCDS_GATEWAY_FOLDER names. Every method raises DiskTrouble when the disk fails."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def make(self) -> None:
        with in_our_words():
            self.incoming.mkdir(parents=True, exist_ok=True)
            for place in PLACES:  # patients' data lie there
                (self.root / place).mkdir(mode=0o700, exist_ok=True)
            sync_folder(self.root)

    @property
    def incoming(self) -> Path:
        return self.root / IN

    @property
    def journal(self) -> Path:
        return self.root / "journal.db"

    def find(self, image_id: str, expected: str = WORK) -> Path | None:
        """The image's folder, wherever a crash between journal and rename has left it."""
        for place in (expected, *PLACES):
            folder = self.root / place / image_id
            if folder.is_dir():
                return folder
        return None

    @contextmanager
    def in_turn(self) -> Iterator[None]:
        """One thread or process at a time moves folders or changes what is in one that a person may change too."""
        with in_our_words(), (self.root / ".turn").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def claim(self) -> TextIO:
        """Be the only gateway on this folder for as long as the returned file stays open. Raises ConfigurationError."""
        with in_our_words():
            file = (self.root / ".gateway").open("w")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.close()
            raise ConfigurationError(f"another gateway is working on {self.root}") from None
        return file

    def ids(self, place: str) -> list[str]:
        with in_our_words():
            return sorted(p.name for p in (self.root / place).iterdir() if p.is_dir())

    def new(self, image_id: str) -> Path:
        with in_our_words():
            folder = self.root / WORK / image_id
            folder.mkdir(mode=0o700)
            sync_folder(folder.parent)
            return folder

    def move(self, image_id: str, place: str) -> None:
        """To its place, unless it is there."""
        folder = self.find(image_id, place)
        wanted = self.root / place / image_id
        if folder is None or folder == wanted:
            return
        with in_our_words():
            folder.rename(wanted)
            sync_folder(wanted.parent)
            sync_folder(folder.parent)


def image_file(folder: Path) -> Path | None:
    """The picture in an image's folder; None while it has not arrived."""
    for path in sorted(folder.iterdir()):
        if path.name not in (DATA, REASON) and not path.name.endswith(_UNFINISHED) and path.is_file():
            return path
    return None


def write_whole(path: Path, content: bytes) -> None:
    """The file with that content or, whatever happens meanwhile, as it was before."""
    with in_our_words():
        beside = path.with_name(path.name + _UNFINISHED)
        try:
            with beside.open("wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            beside.replace(path)
        except OSError:
            beside.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)


def take_in(source: Path, target: Path) -> None:
    """Move a file into an image's folder: on the disk there before it is gone from where it was."""
    with in_our_words():
        # The camera's program wrote it, perhaps to memory only.
        descriptor = os.open(source, os.O_RDONLY | os.O_NOFOLLOW)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        try:
            source.rename(target)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            # `in` is a file system of its own, a network share say.
            write_whole(target, source.read_bytes())
            source.unlink()
        sync_folder(target.parent)


def sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def in_our_words() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        why = "the disk is full" if full else (error.strerror or type(error).__name__)
        raise DiskTrouble(f"the gateway's folder cannot be written: {why}") from error
