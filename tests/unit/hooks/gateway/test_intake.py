"""When a file counts as completely written, what goes with it, and what a crash may leave."""

import errno
import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cds.errors import ConfigurationError
from hooks.demo.hospital import Hospital
from hooks.gateway.folders import DATA, WORK, DiskTrouble, Folders, write_whole
from hooks.gateway.gateway import Gateway, prepare
from hooks.gateway.journal import ImageState
from tests.fakes.gateway import GatewayWorld
from tests.fakes.images import drawing, encoded

SIDECAR = {"accession_number": "A-1"}


@pytest.fixture
def slow(tmp_path: Path, hospital: Hospital) -> GatewayWorld:
    """A gateway that waits for files to settle by a clock that the test turns."""
    world = GatewayWorld(tmp_path, hospital, gateway_stable_s=2.0, gateway_sidecar_wait_s=60.0)
    world.now = 0.0  # type: ignore[attr-defined]
    world.gateway.intake._clock = lambda: world.now  # type: ignore[attr-defined]
    return world


def scan_at(world: GatewayWorld, now: float) -> int:
    world.now = now  # type: ignore[attr-defined]
    return world.gateway.intake.scan()


def test_a_file_is_taken_once_it_stays_as_it_is(slow: GatewayWorld) -> None:
    slow.leave("1.jpg", encoded(drawing())[:900], SIDECAR)
    assert scan_at(slow, 0) == 0
    slow.leave("1.jpg", encoded(drawing()), SIDECAR)  # it grew
    assert scan_at(slow, 2.5) == 0
    assert scan_at(slow, 3) == 0
    assert scan_at(slow, 5) == 1


def test_files_in_the_making_are_left_alone(slow: GatewayWorld) -> None:
    for name in ("1.jpg.part", ".2.jpg", "3.tmp", "~4.jpg", "5.jpg.crdownload"):
        slow.leave(name, encoded(drawing()))
    (slow.folders.incoming / "link.jpg").symlink_to("/etc/hostname")
    scan_at(slow, 0)
    assert scan_at(slow, 100) == 0
    (slow.folders.incoming / "1.jpg.part").rename(slow.folders.incoming / "1.jpg")
    slow.leave("1.jpg", data=SIDECAR)
    scan_at(slow, 101)
    assert scan_at(slow, 104) == 1


def test_a_picture_waits_for_its_sidecar_and_then_for_a_person(slow: GatewayWorld) -> None:
    slow.leave("1.jpg")
    scan_at(slow, 0)
    assert scan_at(slow, 59) == 0
    assert scan_at(slow, 60) == 1
    assert slow.states() == {"waiting": 1}
    (slow.folders.incoming / "1.json").write_text(json.dumps(SIDECAR))
    scan_at(slow, 61)
    scan_at(slow, 64)
    assert slow.states() == {"ready": 1}
    assert list(slow.folders.incoming.iterdir()) == []


def test_one_sidecar_for_a_folder_of_pictures(slow: GatewayWorld) -> None:
    for name in ("run/1.jpg", "run/2.jpg"):
        slow.leave(name)
    (slow.folders.incoming / "run" / "slide.json").write_text(json.dumps(SIDECAR))
    scan_at(slow, 0)
    assert scan_at(slow, 3) == 2
    assert slow.states() == {"ready": 2}
    assert [p.name for p in (slow.folders.incoming / "run").iterdir()] == ["slide.json"]


def test_what_is_too_large_stays_where_it_is(tmp_path: Path, hospital: Hospital) -> None:
    world = GatewayWorld(tmp_path, hospital, gateway_max_image_mb=1)
    world.leave("1.jpg", bytes(1 << 20) + b"!", SIDECAR)
    world.work(3)
    assert world.states() == {}
    assert (world.folders.incoming / "1.jpg").is_file()


def test_a_crash_between_folder_and_journal_loses_nothing(tmp_path: Path, hospital: Hospital) -> None:
    """Each state in which `_take` can be interrupted, as it lies on the disk."""
    world = GatewayWorld(tmp_path, hospital)
    world.close()
    folders = Folders(tmp_path)
    pictures = [encoded(drawing(seed=n)) for n in range(4)]
    for number, picture in enumerate(pictures):
        folder = folders.new(f"crash-{number}")
        if number == 1:  # picture moved, sidecar not yet
            (folder / "1.jpg").write_bytes(picture)
            (folders.incoming / "1.jpg.json").write_text(json.dumps(SIDECAR))
        elif number == 2:  # both moved, journal not written
            (folder / "2.jpg").write_bytes(picture)
            (folder / DATA).write_text(json.dumps(SIDECAR))
        elif number == 3:  # data alone, copied for a folder; the picture is still outside
            (folder / DATA).write_text(json.dumps(SIDECAR))
            (folders.incoming / "3.jpg").write_bytes(picture)
            (folders.incoming / "3.json").write_text(json.dumps(SIDECAR))
    world = GatewayWorld(tmp_path, hospital)
    world.work()
    assert world.states() == {"stored": 3}
    assert folders.ids(WORK) == []
    world.close()


def test_a_crash_between_journal_and_rename_is_tidied(world: GatewayWorld) -> None:
    world.leave("1.jpg", data={"accession_number": "A-9"})
    world.gateway.intake.scan()

    time.sleep(0.01)
    world.gateway.intake.scan()
    (image,) = world.gateway.journal.images(ImageState.READY)
    world.gateway.journal.set_state(
        image.id, ImageState.QUARANTINED, reason="told before the plug was pulled"
    )
    assert (world.folders.root / WORK / image.id).is_dir()
    world.gateway.take_up()
    assert (world.folders.root / "quarantine" / image.id).is_dir()


def test_two_gateways_on_one_folder_are_one_too_many(world: GatewayWorld) -> None:

    with pytest.raises(ConfigurationError, match="another gateway"):
        prepare(world.settings)


def test_in_on_a_file_system_of_its_own(world: GatewayWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    rename = Path.rename

    def across(self: Path, target: Path) -> Path:
        if world.folders.incoming in self.parents:
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", across)
    world.leave("1.jpg", data=SIDECAR)
    world.work()
    assert world.states() == {"stored": 1}
    assert list(world.folders.incoming.iterdir()) == []


def test_a_full_disk_is_said_and_waited_out(world: GatewayWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    world.leave("1.jpg", data=SIDECAR)

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "mkdir", full)
        world.gateway.intake.scan()
        with pytest.raises(DiskTrouble, match="the disk is full"):
            world.work(2)
    assert (world.folders.incoming / "1.jpg").is_file()
    world.work()
    assert world.states() == {"stored": 1}


_FULL = """
import resource, sys
from pathlib import Path
from hooks.gateway.folders import DiskTrouble, write_whole
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
target = Path(sys.argv[1]) / "x"
write_whole(target, b"before")
try:
    write_whole(target, bytes(20_000))
except DiskTrouble as trouble:
    print(trouble)
print(target.read_bytes().decode(), sorted(p.name for p in target.parent.iterdir()))
"""


def test_a_file_that_does_not_fit_leaves_the_old_one(tmp_path: Path) -> None:
    """A process that may write no further is what a full disk is to it."""
    done = subprocess.run(
        [sys.executable, "-c", _FULL, str(tmp_path)], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.splitlines() == [
        "the gateway's folder cannot be written: the disk is full",
        "before ['x']",
    ]


def test_a_journal_on_a_full_disk_says_so(tmp_path: Path, hospital: Hospital) -> None:
    world = GatewayWorld(tmp_path, hospital)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        size = (tmp_path / "journal.db-wal").stat().st_size
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
        with pytest.raises(DiskTrouble, match="journal cannot be used"):
            world.gateway.journal.add("x", name="x", sha256="x", accession=None, now=0.0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    world.leave("1.jpg", data=SIDECAR)
    world.work()
    assert world.states() == {"stored": 1}


def test_write_whole_replaces(tmp_path: Path) -> None:
    write_whole(tmp_path / "x", b"1")
    write_whole(tmp_path / "x", b"2")
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("x", b"2")]


def test_a_bug_or_a_full_disk_does_not_end_the_gateway(
    world: GatewayWorld, monkeypatch: pytest.MonkeyPatch
) -> None:

    calls: list[int] = []

    def fail(self: Gateway) -> int:
        calls.append(1)
        raise (
            DiskTrouble("the gateway's folder cannot be written: the disk is full")
            if len(calls) == 1
            else KeyError("x")
        )

    monkeypatch.setattr(Gateway, "once", fail)
    monkeypatch.setattr("hooks.gateway.gateway._TICK_S", 0.001)
    world.gateway.start()
    until = time.monotonic() + 10
    while len(calls) < 4 and time.monotonic() < until:
        time.sleep(0.01)
    assert len(calls) >= 4
    assert world.gateway.alive()
    assert world.gateway.trouble == "internal error (KeyError)"


def test_a_sidecar_whose_picture_does_not_come_is_set_aside(slow: GatewayWorld) -> None:
    (slow.folders.incoming / "1.json").write_text(json.dumps(SIDECAR))
    scan_at(slow, 0)
    scan_at(slow, 59)
    assert (slow.folders.incoming / "1.json").is_file()
    scan_at(slow, 61)
    assert [p.name for p in slow.folders.incoming.iterdir()] == ["1.json.orphan"]
    slow.leave("1.jpg")
    scan_at(slow, 62)
    scan_at(slow, 130)
    assert slow.states() == {"waiting": 1}


def test_a_late_sidecar_of_two_pictures_of_one_name_goes_to_neither(slow: GatewayWorld) -> None:
    for now, content in ((0, encoded(drawing(seed=1))), (100, encoded(drawing(seed=2)))):
        slow.leave("IMG_1.jpg", content)
        scan_at(slow, now)
        scan_at(slow, now + 61)
    (slow.folders.incoming / "IMG_1.json").write_text(json.dumps(SIDECAR))
    scan_at(slow, 200)
    scan_at(slow, 203)
    assert slow.states() == {"waiting": 2}


def test_data_for_a_whole_folder_count_in_subfolders_alone(slow: GatewayWorld) -> None:
    slow.leave("1.jpg")
    (slow.folders.incoming / "slide.json").write_text(json.dumps(SIDECAR))
    scan_at(slow, 0)
    scan_at(slow, 61)
    assert slow.states() == {"waiting": 1}


def test_others_cannot_look_at_what_was_taken(world: GatewayWorld) -> None:
    assert (world.folders.root / "stored").stat().st_mode & 0o077 == 0
    assert world.folders.journal.stat().st_mode & 0o077 == 0


def test_what_a_full_disk_left_half_taken_goes_on_without_a_restart(
    world: GatewayWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.leave("1.jpg", data=SIDECAR)

    def fail(*_: object, **__: object) -> None:
        raise DiskTrouble("the gateway's journal cannot be used: database or disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(world.gateway.journal, "add", fail)
        with pytest.raises(DiskTrouble):
            world.work(3)
    assert list(world.folders.incoming.iterdir()) == []
    world.work()
    assert world.states() == {"stored": 1}


def test_a_file_that_may_not_be_read_stops_no_other(
    world: GatewayWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name != "1.jpg")
    for name in ("1.jpg", "2.jpg"):
        world.leave(name, data=SIDECAR)
    world.work()
    assert world.states() == {"stored": 1}
    assert (world.folders.incoming / "1.jpg").is_file()


@pytest.mark.parametrize("made", ["1.jpg.part", ".1.jpg", "1.JPG.tmp"])
def test_a_sidecar_waits_for_a_picture_that_is_long_in_the_making(slow: GatewayWorld, made: str) -> None:
    slow.leave(made)
    (slow.folders.incoming / "1.json").write_text(json.dumps(SIDECAR))
    scan_at(slow, 0)
    scan_at(slow, 100)
    assert (slow.folders.incoming / "1.json").is_file()


@pytest.mark.parametrize(
    ("picture", "sidecar"),
    [("IMG 1.JPG", "IMG 1.json"), ("IMG_1.JPG", "IMG_1.JPG.json"), ("Überblick.tif", "Überblick.json")],
)
def test_a_late_sidecar_finds_its_picture_by_whatever_name(
    slow: GatewayWorld, picture: str, sidecar: str
) -> None:
    slow.leave(picture)
    scan_at(slow, 0)
    scan_at(slow, 61)
    assert slow.states() == {"waiting": 1}
    (slow.folders.incoming / sidecar).write_text(json.dumps(SIDECAR))
    scan_at(slow, 62)
    scan_at(slow, 65)
    assert slow.states() == {"ready": 1}
