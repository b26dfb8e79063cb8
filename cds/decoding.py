"""Compressed frames decoded in processes of their own, limited in memory and time.

OpenJPEG and CharLS are C and C++ that read what strangers sent, and a frame of a few kilobytes can ask for gigabytes
(tiles, precincts and code blocks of one pixel; runs in RLE). A process that dies or hangs over a frame is replaced; the
image is refused. JPEG and uncompressed data, which nearly all images are, do not come here.
"""

import atexit
import json
import logging
import os
import selectors
import subprocess
import sys
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from cds.errors import UnreadableImage
from cds.language import message

_log = logging.getLogger(__name__)

_CHILD = Path(__file__).with_name("decoding_child.py")
_PATIENCE_S = 20.0
_PATIENCE_S_PER_MEGAPIXEL = 2.0
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedFrame:
    """What the decoders of pydicom need to know besides the bytes; plugin: its name for the one to use."""

    syntax: str
    plugin: str
    rows: int
    columns: int
    samples: int
    allocated: int
    stored: int
    photometric: str
    planar: int


def decode_apart(frame: EncodedFrame, stream: bytes) -> tuple[npt.NDArray[np.uint8 | np.uint16], str]:
    """The samples, ``(r, c)`` or ``(r, c, 3)``, and their photometric interpretation. Raises UnreadableImage."""
    patience = _PATIENCE_S + _PATIENCE_S_PER_MEGAPIXEL * frame.rows * frame.columns / 1e6
    child = _POOL.take()
    try:
        answer, body = child.ask(asdict(frame), stream, patience)
    except _Lost as lost:
        _log.warning(
            "a decoding process was lost", extra={"reason": str(lost), "transfer_syntax": frame.syntax}
        )
        child.end()
        raise UnreadableImage(lost.args[0]) from None
    except BaseException:
        child.end()
        raise
    _POOL.give_back(child)
    if error := answer.get("error"):
        _log.info("image refused", extra={"error": error})
        raise UnreadableImage(message("it is damaged and cannot be decoded"))
    pixels = np.frombuffer(body, np.dtype(answer["dtype"])).reshape(answer["shape"])
    return pixels, str(answer["photometric"])


class _Lost(Exception):
    """The process is dead or as good as dead; the argument says so of the image."""


class _Child:
    def __init__(self) -> None:
        self._process = subprocess.Popen(
            # -P: the folder of the script is no place to import from.
            [sys.executable, "-P", str(_CHILD)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # what decoders say may hold what they read
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._stdin: IO[bytes] = self._process.stdin
        self._stdout: IO[bytes] = self._process.stdout
        os.set_blocking(self._stdout.fileno(), False)

    def ask(
        self, task: dict[str, object], stream: bytes, patience_s: float
    ) -> tuple[dict[str, Any], bytearray]:
        head = json.dumps(task | {"length": len(stream)}).encode()
        ends = time.monotonic() + patience_s
        try:
            self._stdin.write(len(head).to_bytes(4, "little") + head)
            self._stdin.write(stream)
            self._stdin.flush()
        except BrokenPipeError:
            raise _Lost(message("it cannot be decoded: its decoder ended the process")) from None
        size = int.from_bytes(self._read(4, ends), "little")
        answer = json.loads(self._read(size, ends))
        return answer, self._read(answer["length"], ends)

    def end(self) -> None:
        self._process.kill()
        self._process.wait()
        self._stdin.close()
        self._stdout.close()

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def _read(self, size: int, ends: float) -> bytearray:
        received = bytearray()
        with selectors.DefaultSelector() as selector:
            selector.register(self._stdout, selectors.EVENT_READ)
            while len(received) < size:
                if not selector.select(max(0.0, ends - time.monotonic())):
                    raise _Lost(message("it cannot be decoded: its decoder does not come to an end"))
                piece = os.read(self._stdout.fileno(), min(_CHUNK, size - len(received)))
                if not piece:
                    raise _Lost(message("it cannot be decoded: its decoder ended the process"))
                received += piece
        return received


class _Pool:
    """Idle processes, as many as threads have ever asked at the same time. Each process of ours has its own."""

    def __init__(self) -> None:
        self._idle: list[_Child] = []
        self._lock = threading.Lock()
        self._owner = os.getpid()

    def take(self) -> _Child:
        with self._lock:
            self._forget_the_parent_s()
            while self._idle:
                child = self._idle.pop()
                if child.alive:
                    return child
                child.end()
        return _Child()

    def give_back(self, child: _Child) -> None:
        with self._lock:
            self._idle.append(child)

    def close(self) -> None:
        with self._lock:
            self._forget_the_parent_s()
            while self._idle:
                self._idle.pop().end()

    def _forget_the_parent_s(self) -> None:
        """After a fork the idle ones are those of the process that forked: two may not talk to one."""
        if self._owner != os.getpid():
            self._idle, self._owner = [], os.getpid()


_POOL = _Pool()
atexit.register(_POOL.close)
