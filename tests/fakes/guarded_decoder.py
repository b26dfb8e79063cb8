"""`cds.pixels` in a child process of limited memory, asked file by file: what it answers, and whether it lives on."""

import json
import logging
import os
import re
import resource
import select
import struct
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

ROOT = Path(__file__).resolve().parent.parent.parent
_MB = 1 << 20
#: Smaller than in the program, so that what gets past them stands out.
_MEGAPIXELS, _FRAMES = 2.0, 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """kind: "decoded", "refused: <reason>" or what went wrong, which `problem` then says in full."""

    kind: str
    seconds: float
    problem: str = ""


class GuardedDecoder:
    """memory_mb: what the child may grow by; its address space ends at twice that. seconds: after which it is killed.

    A dead child is replaced, and one that grew too.
    """

    def __init__(self, *, memory_mb: int, seconds: float) -> None:
        self._memory_mb, self._seconds = memory_mb, seconds
        self._child: subprocess.Popen[bytes] | None = None
        self.grown_mb = 0.0

    def decode(self, data: bytes) -> Outcome:
        child = self._child = self._child or self._start()
        assert child.stdin is not None
        assert child.stdout is not None
        began = time.monotonic()
        try:
            child.stdin.write(struct.pack("<I", len(data)) + data)
            child.stdin.flush()
            readable, _, _ = select.select([child.stdout], [], [], self._seconds)
            line = child.stdout.readline() if readable else None
        except BrokenPipeError:
            line = b""
        seconds = time.monotonic() - began
        if line is None:
            self._end()
            return Outcome(kind="HUNG", seconds=seconds, problem=f"took more than {self._seconds:g} s")
        if not line:
            status = child.wait()
            self._child = None
            return Outcome(kind="DIED", seconds=seconds, problem=f"the process ended with {status}")
        answer = json.loads(line)
        self.grown_mb = max(self.grown_mb, answer["grown_mb"])
        if answer["grown_mb"] > self._memory_mb:
            self._end()  # the peak of a process never sinks again
            problem = f"grew by {answer['grown_mb']:.0f} MiB and was {answer['kind']}"
            return Outcome(kind="GREW", seconds=seconds, problem=problem)
        return Outcome(kind=answer["kind"], seconds=seconds, problem=answer["problem"])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def _start(self) -> "subprocess.Popen[bytes]":
        child = subprocess.Popen(
            [sys.executable, "-m", __name__, str(self._memory_mb)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
            # Threads of numpy's BLAS would count as address space, a gigabyte of it.
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
        )
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        return child

    def _end(self) -> None:
        if self._child is not None:
            self._child.kill()
            self._child.wait()
            self._child = None


class _Raised(logging.Handler):
    """Names of the exceptions that the decoding turned into a refusal: running out of memory is one too many."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.names.append(getattr(record, "error", ""))


def _serve(memory_mb: int) -> None:
    from cds.pixels import PixelLimits, decode_dicom, instance_ref

    limits, raised = PixelLimits(max_megapixels=_MEGAPIXELS, max_frames=_FRAMES), _Raised()
    logger = logging.getLogger("cds")
    logger.addHandler(raised)
    logger.setLevel(logging.INFO)
    _warm_up(limits, decode_dicom)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 2 * memory_mb * _MB, resource.RLIM_INFINITY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    started_with = _peak_mb()
    sys.stdout.buffer.write(b"ready\n")
    sys.stdout.buffer.flush()
    while size := sys.stdin.buffer.read(4):
        data = sys.stdin.buffer.read(struct.unpack("<I", size)[0])
        raised.names.clear()
        kind, problem = _decode(data, limits, decode_dicom, instance_ref)
        if any(name.endswith("MemoryError") for name in raised.names):  # numpy has one of its own
            kind, problem = "OUT OF MEMORY", f"wanted more than {2 * memory_mb} MiB"
        answer = {"kind": kind, "problem": problem, "grown_mb": _peak_mb() - started_with}
        sys.stdout.buffer.write(json.dumps(answer).encode() + b"\n")
        sys.stdout.buffer.flush()


def _decode(data: bytes, limits: Any, decode_dicom: Any, instance_ref: Any) -> tuple[str, str]:
    from cds.errors import LeukoError
    from cds.values import SmearImage

    try:
        try:
            instance_ref(data)
        except LeukoError:
            pass  # it may have no identity; what else comes out is what this is about
        images = list(decode_dicom(data, limits))
    except BaseException as error:  # noqa: BLE001 - whatever it is, it is what was looked for
        return f"RAISED {type(error).__name__}", repr(error)[:200]
    if not images:
        return "NOTHING", "neither an image nor a refusal"
    if any(isinstance(image, SmearImage) for image in images):
        return "decoded", ""
    return f"refused: {re.sub('[0-9]+', 'N', str(images[0].reason))}", ""


def _warm_up(limits: Any, decode_dicom: Any) -> None:
    """Everything that is loaded at first use is loaded before the limit is set."""
    from tests.fakes.dicom_fuzz import sound_files

    for data in sound_files():
        list(decode_dicom(data, limits))


def _peak_mb() -> float:
    """Of this process alone: what getrusage says begins with the peak of the process that started it."""
    status = Path("/proc/self/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) / 1024


if __name__ == "__main__":
    _serve(int(sys.argv[1]))
