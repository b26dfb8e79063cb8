"""The gateway's memory: which state each image and each study is in. SQLite, on the disk before a call returns.

Whatever is decided is written here first and done afterwards; `hooks.gateway.passage` does what the journal says has
not been done. Several processes may use it (the gateway, and commands that release an image).
"""

import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from cds.errors import BadRequest
from hooks.gateway.folders import DISCARDED, QUARANTINE, STORED, WAITING, WORK, DiskTrouble, in_our_words


class ImageState(StrEnum):
    """WAITING: for its data. READY: to be stored. QUARANTINED: for a person. DUPLICATE: stored as another."""

    WAITING = "waiting"
    READY = "ready"
    QUARANTINED = "quarantined"
    STORED = "stored"
    DUPLICATE = "duplicate"
    DISCARDED = "discarded"


#: Where an image's folder lies in each state.
PLACE_OF: Mapping[ImageState, str] = {
    ImageState.WAITING: WAITING,
    ImageState.READY: WORK,
    ImageState.QUARANTINED: QUARANTINE,
    ImageState.STORED: STORED,
    ImageState.DUPLICATE: DISCARDED,
    ImageState.DISCARDED: DISCARDED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalledImage:
    """One picture. Times are seconds since 1970."""

    id: str
    #: As the microscope named it.
    name: str
    sha256: str
    state: ImageState
    #: Of its data; None while there are none.
    accession: str | None
    reason: str | None
    taken_at: float
    #: When it was first about to be sent: from then on the archive may have it.
    sent_at: float | None
    instance_number: int | None
    sop_instance_uid: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalledStudy:
    """All images of one accession number. due_at: when to go on with it; None: nothing is left to do."""

    accession: str
    study_uid: str
    patient: str
    service_request: str | None
    encounter: str | None
    started: str
    imaging_study: str | None
    #: Instances that the ImagingStudy was last said to have, and with which it was last queued.
    registered: int
    queued: int


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldUp:
    """Work that waits because a server is out. attempts: failures so far."""

    accession: str
    due_at: float
    attempts: int
    problem: str


_TABLES = """
CREATE TABLE IF NOT EXISTS images (
  id TEXT PRIMARY KEY, name TEXT NOT NULL, sha256 TEXT NOT NULL, state TEXT NOT NULL, accession TEXT, reason TEXT,
  taken_at REAL NOT NULL, sent_at REAL, instance_number INTEGER, sop_instance_uid TEXT, moved INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX IF NOT EXISTS images_by_state ON images (state, accession);
CREATE INDEX IF NOT EXISTS images_by_content ON images (sha256);
CREATE INDEX IF NOT EXISTS images_to_move ON images (moved) WHERE moved = 0;
CREATE TABLE IF NOT EXISTS studies (
  accession TEXT PRIMARY KEY, study_uid TEXT NOT NULL, patient TEXT NOT NULL, service_request TEXT, encounter TEXT,
  started TEXT NOT NULL, imaging_study TEXT, registered INTEGER NOT NULL DEFAULT 0, queued INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE TABLE IF NOT EXISTS held_up (
  accession TEXT PRIMARY KEY, due_at REAL NOT NULL, attempts INTEGER NOT NULL, problem TEXT NOT NULL
) STRICT;
"""
_IMAGE = "id, name, sha256, state, accession, reason, taken_at, sent_at, instance_number, sop_instance_uid"
_STUDY = (
    "accession, study_uid, patient, service_request, encounter, started, imaging_study, registered, queued"
)


class Journal:
    """Safe for threads and processes. Raises DiskTrouble when it cannot be written."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        with _in_our_words():
            self._db = sqlite3.connect(path, timeout=30, isolation_level=None, check_same_thread=False)
            self._db.row_factory = sqlite3.Row
            self._db.execute("PRAGMA journal_mode = WAL")
            # FULL: a commit is on the disk when it returns, also when the plug is pulled a moment later.
            self._db.execute("PRAGMA synchronous = FULL")
            self._db.executescript(_TABLES)
        with in_our_words():
            path.chmod(0o600)  # it holds accession numbers

    def close(self) -> None:
        with self._lock:
            self._db.close()

    def add(
        self,
        image_id: str,
        *,
        name: str,
        sha256: str,
        now: float,
        accession: str | None,
        problem: str | None = None,
    ) -> None:
        """A picture that has arrived: ready with data, waiting without, quarantined where there is a problem with
        them. Nothing happens if it is known."""
        with_data = ImageState.WAITING if accession is None else ImageState.READY
        state = with_data if problem is None else ImageState.QUARANTINED
        self._write(
            "INSERT OR IGNORE INTO images (id, name, sha256, state, accession, reason, taken_at) "
            "VALUES (?, ?, ?, ?, ?, ?, ?)",
            (image_id, name, sha256, state, accession, problem, now),
        )

    def image(self, image_id: str) -> JournalledImage | None:
        rows = self._read(f"SELECT {_IMAGE} FROM images WHERE id = ?", (image_id,))  # noqa: S608 - columns
        return _image(rows[0]) if rows else None

    def images(self, *states: ImageState, limit: int = 1000) -> list[JournalledImage]:
        marks = ", ".join("?" * len(states))
        query = f"SELECT {_IMAGE} FROM images WHERE state IN ({marks}) ORDER BY taken_at, id LIMIT ?"  # noqa: S608
        return [_image(row) for row in self._read(query, (*states, limit))]

    def waiting_under(self, name: str) -> JournalledImage | None:
        """The one picture of that file name that waits for its data; None also where there are several: cameras begin
        to count anew, and data must not come to another's picture."""
        query = f"SELECT {_IMAGE} FROM images WHERE state = ? AND name = ? LIMIT 2"  # noqa: S608
        rows = self._read(query, (ImageState.WAITING, name))
        return _image(rows[0]) if len(rows) == 1 else None

    def ready(self, accession: str, limit: int) -> list[JournalledImage]:
        query = f"SELECT {_IMAGE} FROM images WHERE state = ? AND accession = ? ORDER BY taken_at, id LIMIT ?"  # noqa: S608
        return [_image(row) for row in self._read(query, (ImageState.READY, accession, limit))]

    def by_content(self, sha256: str, accession: str | None, *states: ImageState) -> JournalledImage | None:
        """A picture of those bytes, of that accession number (None: of none yet), in one of those states."""
        marks = ", ".join("?" * len(states))
        query = (
            f"SELECT {_IMAGE} FROM images WHERE sha256 = ? AND accession IS ? AND state IN ({marks}) LIMIT 1"  # noqa: S608
        )
        rows = self._read(query, (sha256, accession, *states))
        return _image(rows[0]) if rows else None

    def same_content(self, image: JournalledImage) -> JournalledImage | None:
        """Another picture of the same bytes that came before and has been stored or is about to be."""
        query = (
            f"SELECT {_IMAGE} FROM images WHERE sha256 = ? AND id <> ? AND (state = ? OR (state = ? AND "  # noqa: S608
            "(taken_at, id) < (?, ?))) ORDER BY state = ? DESC, taken_at LIMIT 1"
        )
        stored, ready = ImageState.STORED, ImageState.READY
        rows = self._read(query, (image.sha256, image.id, stored, ready, image.taken_at, image.id, stored))
        return _image(rows[0]) if rows else None

    def set_state(
        self,
        image_id: str,
        state: ImageState,
        *,
        reason: str | None = None,
        only_from: ImageState | None = None,
    ) -> bool:
        """False where the picture is in another state than `only_from` by now."""
        return self._write(
            "UPDATE images SET state = ?, reason = ?, moved = 0 WHERE id = ? AND (? IS NULL OR state = ?)",
            (state, reason, image_id, only_from, only_from),
        )

    def set_data(self, image_id: str, accession: str) -> None:
        """It has data now, and is ready. What it was numbered for another accession number is void."""
        self._write(
            "UPDATE images SET state = ?, accession = ?, reason = NULL, moved = 0, sent_at = NULL, "
            "instance_number = NULL, sop_instance_uid = NULL WHERE id = ? AND state IN (?, ?)",
            (ImageState.READY, accession, image_id, ImageState.WAITING, ImageState.QUARANTINED),
        )

    def number(self, image_id: str, accession: str) -> int:
        """The picture's place in its study: given once, and the same ever after."""
        self._write(
            "UPDATE images SET instance_number = (SELECT coalesce(max(instance_number), 0) + 1 FROM images WHERE "
            "accession = ?) WHERE id = ? AND instance_number IS NULL",
            (accession, image_id),
        )
        return int(self._read("SELECT instance_number FROM images WHERE id = ?", (image_id,))[0][0])

    def about_to_send(self, instances: Mapping[str, str], now: float) -> None:
        """instances: image id to SOP Instance UID. On the disk before the first byte leaves."""
        with self._writing() as db:
            db.executemany(
                "UPDATE images SET sent_at = coalesce(sent_at, ?), sop_instance_uid = ? WHERE id = ?",
                [(now, uid, image_id) for image_id, uid in instances.items()],
            )

    def confirmed(self, image_ids: list[str]) -> None:
        """The archive has them."""
        with self._writing() as db:
            db.executemany(
                "UPDATE images SET state = ?, reason = NULL, moved = 0 WHERE id = ? AND state = ?",
                [(ImageState.STORED, image_id, ImageState.READY) for image_id in image_ids],
            )

    def to_move(self, limit: int = 500) -> list[JournalledImage]:
        """Pictures whose folder may not be where their state has it."""
        query = f"SELECT {_IMAGE} FROM images WHERE moved = 0 LIMIT ?"  # noqa: S608 - columns
        return [_image(row) for row in self._read(query, (limit,))]

    def moved(self, image: JournalledImage) -> None:
        self._write("UPDATE images SET moved = 1 WHERE id = ? AND state = ?", (image.id, image.state))

    def accessions(self, now: float) -> list[str]:
        """Those with pictures to store, or with a study to make known, that are not held up; the longest waiting
        first."""
        query = (
            "SELECT accession, min(since) FROM ("
            " SELECT accession, taken_at AS since FROM images WHERE state = 'ready'"
            " UNION ALL"
            " SELECT s.accession, 0 FROM studies s WHERE (SELECT count(*) FROM images i WHERE i.accession ="
            " s.accession AND i.state = 'stored') > min(s.registered, s.queued)"
            ") WHERE accession NOT IN (SELECT accession FROM held_up WHERE due_at > ?)"
            " GROUP BY accession ORDER BY min(since)"
        )
        return [str(row[0]) for row in self._read(query, (now,))]

    def stored_count(self, accession: str) -> int:
        query = "SELECT count(*) FROM images WHERE accession = ? AND state = 'stored'"
        return int(self._read(query, (accession,))[0][0])

    def newest(self, accession: str) -> float:
        """When the last of its pictures came that is stored or to be stored."""
        query = "SELECT max(taken_at) FROM images WHERE accession = ? AND state IN ('ready', 'stored')"
        return float(self._read(query, (accession,))[0][0] or 0.0)

    def study(self, accession: str) -> JournalledStudy | None:
        rows = self._read(f"SELECT {_STUDY} FROM studies WHERE accession = ?", (accession,))  # noqa: S608
        return JournalledStudy(**dict(rows[0])) if rows else None

    def add_study(self, study: JournalledStudy) -> None:
        """Nothing happens if it is known."""
        names = _STUDY.split(", ")
        self._write(
            f"INSERT OR IGNORE INTO studies ({_STUDY}) VALUES ({', '.join('?' * len(names))})",  # noqa: S608 - columns
            tuple(getattr(study, name) for name in names),
        )

    def registered(self, accession: str, imaging_study: str, instances: int) -> None:
        self._write(
            "UPDATE studies SET imaging_study = ?, registered = ? WHERE accession = ?",
            (imaging_study, instances, accession),
        )

    def queued(self, accession: str, instances: int) -> None:
        self._write("UPDATE studies SET queued = ? WHERE accession = ?", (instances, accession))

    def hold_up(self, accession: str, problem: str, pause: Callable[[int], float], now: float) -> HeldUp:
        """pause: number of failures so far (from 1) to seconds."""
        rows = self._read("SELECT attempts FROM held_up WHERE accession = ?", (accession,))
        attempts = (int(rows[0][0]) if rows else 0) + 1
        held = HeldUp(accession=accession, due_at=now + pause(attempts), attempts=attempts, problem=problem)
        self._write(
            "INSERT OR REPLACE INTO held_up (accession, due_at, attempts, problem) VALUES (?, ?, ?, ?)",
            (accession, held.due_at, attempts, problem),
        )
        return held

    def goes_on(self, accession: str) -> None:
        self._write("DELETE FROM held_up WHERE accession = ?", (accession,))

    def everything_goes_on(self) -> None:
        """At a start, and when a person asks for it: whatever waits is tried at once."""
        self._write("UPDATE held_up SET due_at = 0", ())

    def held_up(self) -> list[HeldUp]:
        rows = self._read("SELECT accession, due_at, attempts, problem FROM held_up ORDER BY due_at", ())
        return [HeldUp(**dict(row)) for row in rows]

    def counts(self) -> dict[str, int]:
        """State to number of pictures."""
        found = {
            str(r[0]): int(r[1]) for r in self._read("SELECT state, count(*) FROM images GROUP BY state", ())
        }
        return {state.value: found.get(state.value, 0) for state in ImageState}

    def oldest(self, state: ImageState) -> float | None:
        (row,) = self._read("SELECT min(taken_at) FROM images WHERE state = ?", (state,))
        return None if row[0] is None else float(row[0])

    def _read(self, query: str, values: tuple[object, ...]) -> list[sqlite3.Row]:
        with self._lock, _in_our_words():
            return self._db.execute(query, values).fetchall()

    def _write(self, query: str, values: tuple[object, ...]) -> bool:
        with self._writing() as db:
            return db.execute(query, values).rowcount == 1

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._lock, _in_our_words():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise


def require(image: JournalledImage | None) -> JournalledImage:
    """Raises BadRequest where there is no such picture."""
    if image is None:
        raise BadRequest("there is no image of that id; `leukocds gateway status` lists them")
    return image


def _image(row: sqlite3.Row) -> JournalledImage:
    values = dict(row)
    return JournalledImage(**values | {"state": ImageState(values["state"])})


@contextmanager
def _in_our_words() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        line = str(error).partition("\n")[0]
        raise DiskTrouble(f"the gateway's journal cannot be used: {line}") from error
