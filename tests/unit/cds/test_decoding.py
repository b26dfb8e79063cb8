"""The decoding processes: what they survive, and that nobody waits for them in vain."""

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from pydicom.uid import JPEG2000Lossless, JPEGBaseline8Bit, RLELossless

from cds import decoding
from cds.pixels import PixelLimits, decode_dicom
from cds.values import RefusedImage, SmearImage
from tests.fakes.images import drawing, encapsulated, encoded
from tests.fakes.transfer_syntaxes import instance

LIMITS = PixelLimits(max_megapixels=8)


@pytest.fixture(autouse=True)
def pool(monkeypatch: pytest.MonkeyPatch) -> Iterator[decoding._Pool]:
    pool = decoding._Pool()
    monkeypatch.setattr(decoding, "_POOL", pool)
    yield pool
    pool.close()


def only(data: bytes) -> SmearImage | RefusedImage:
    (image,) = decode_dicom(data, LIMITS)
    return image


def child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    script = tmp_path / "child.py"
    script.write_text(program)
    monkeypatch.setattr(decoding, "_CHILD", script)


def test_one_process_serves_image_after_image(pool: decoding._Pool) -> None:
    data = instance(drawing(), JPEG2000Lossless, "RGB")
    for _ in range(3):
        assert isinstance(only(data), SmearImage)
    assert len(pool._idle) == 1


def test_plain_jpeg_needs_no_process(pool: decoding._Pool) -> None:
    assert isinstance(only(instance(drawing(), JPEGBaseline8Bit, "YBR_FULL_422")), SmearImage)
    assert not pool._idle


def test_a_decoder_that_ends_its_process_costs_one_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = instance(drawing(), JPEG2000Lossless, "RGB")
    with monkeypatch.context() as patched:
        child(tmp_path, patched, "import os, sys; sys.stdin.buffer.read(4); os.abort()")
        image = only(data)
    assert isinstance(image, RefusedImage)
    assert str(image.reason) == "it cannot be decoded: its decoder ended the process"
    assert isinstance(only(data), SmearImage)


def test_a_decoder_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    child(tmp_path, monkeypatch, "import time; time.sleep(60)")
    monkeypatch.setattr(decoding, "_PATIENCE_S", 0.3)
    began = time.monotonic()
    image = only(instance(drawing(), JPEG2000Lossless, "RGB"))
    assert isinstance(image, RefusedImage)
    assert "does not come to an end" in str(image.reason)
    assert time.monotonic() - began < 10


def test_a_process_that_died_while_idle_is_replaced(pool: decoding._Pool) -> None:
    data = instance(drawing(), RLELossless, "RGB")
    assert isinstance(only(data), SmearImage)
    (idle,) = pool._idle
    idle._process.kill()
    idle._process.wait()
    assert isinstance(only(data), SmearImage)


def test_a_forked_process_leaves_its_parent_s_alone(pool: decoding._Pool) -> None:
    data = instance(drawing(), RLELossless, "RGB")
    assert isinstance(only(data), SmearImage)
    (parent_s,) = pool._idle
    pool._owner = -1  # as the pool looks to a process that was forked
    assert isinstance(only(data), SmearImage)
    assert parent_s.alive
    assert parent_s not in pool._idle
    parent_s.end()


def test_runs_that_unpack_to_gigabytes_are_refused(pool: decoding._Pool) -> None:
    picture = drawing()
    run = b"\x81\x00" * 8_000_000  # 128 zeros each
    header = b"".join(n.to_bytes(4, "little") for n in (3, 64, 64 + len(run), 64 + len(run)))
    stream = header.ljust(64, b"\0") + run
    image = only(encapsulated(picture, [stream], "RGB", RLELossless))
    assert isinstance(image, RefusedImage)
    (lives_on,) = pool._idle
    status = Path(f"/proc/{lives_on._process.pid}/status").read_text()
    peak_kb = int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1])
    assert peak_kb < 600 << 10


def test_threads_have_a_process_each(pool: decoding._Pool) -> None:
    first, second = pool.take(), pool.take()
    assert first is not second
    pool.give_back(first)
    pool.give_back(second)
    assert len(pool._idle) == 2


def test_a_large_frame_comes_back_whole() -> None:
    picture = drawing(600, 800)
    image = only(encapsulated(picture, [encoded(picture, "JPEG2000", no_jp2=True)], "RGB", JPEG2000Lossless))
    assert isinstance(image, SmearImage)
    assert np.array_equal(image.pixels, picture)
