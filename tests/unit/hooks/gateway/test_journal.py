"""What the gateway's memory promises before anything is done."""

from pathlib import Path

import pytest

from cds.dicomweb import DicomWebArchive
from hooks.gateway.journal import ImageState, Journal
from tests.fakes.gateway import GatewayWorld


def test_what_it_was_told_is_on_the_disk_when_it_says_so(tmp_path: Path) -> None:
    """Nothing short of pulling the plug shows it: SQLite's own word must do (https://sqlite.org/pragma.html)."""
    journal = Journal(tmp_path / "journal.db")
    assert journal._db.execute("PRAGMA synchronous").fetchone()[0] == 2, "FULL"
    assert journal._db.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
    assert (tmp_path / "journal.db").stat().st_mode & 0o077 == 0
    journal.close()


def test_what_may_have_arrived_is_asked_for_before_it_is_sent_again(
    world: GatewayWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[bytes] = []
    store = DicomWebArchive.store

    def count(self: DicomWebArchive, instances: list[bytes], deadline: object = None) -> None:
        (image,) = world.gateway.journal.images(ImageState.READY)
        assert image.sent_at is not None, "written down before the first byte leaves"
        assert image.sop_instance_uid is not None
        sent.extend(instances)
        store(self, instances)

    def plug_pulled(*_: object) -> None:
        raise SystemError

    monkeypatch.setattr(DicomWebArchive, "store", count)
    world.leave("1.jpg", data={"accession_number": "A-1"})
    with monkeypatch.context() as patch:
        patch.setattr(Journal, "confirmed", plug_pulled)
        world.work(3)
        assert world.states() == {"ready": 1}
    world.gateway.journal.everything_goes_on()
    world.work()
    assert world.states() == {"stored": 1}
    assert len(sent) == 1
