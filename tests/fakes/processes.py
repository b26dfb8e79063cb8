"""`leukocds serve` and `leukocds worker` as processes of their own, with a reader that needs no model package.

Run as a script, it is such a process: everything but the reader is the real thing.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

ROOT = Path(__file__).resolve().parents[2]


#: Generous: on a machine that does much else, a process may need half a minute to start.
PATIENCE_S = 60.0


class Process:
    """`with Process("worker", folder, broker_url=…) as worker:`; killed, with its children, at the end of the block.

    settings: as in `cds.settings`. Its log is `folder/<kind>-<n>.log`.
    """

    _started = 0

    def __init__(self, kind: str, folder: Path, **settings: object) -> None:
        Process._started += 1
        self.log_file = folder / f"{kind}-{Process._started}.log"
        environ = {name: text for name, text in os.environ.items() if not name.startswith("LEUKOCDS_")}
        environ |= {f"LEUKOCDS_{name.upper()}": str(value) for name, value in settings.items()}
        environ["PYTHONPATH"] = str(ROOT)
        with self.log_file.open("wb") as log:
            # A group of its own, so that its children can be killed with it.
            self._process = subprocess.Popen(
                [sys.executable, __file__, kind],
                env=environ, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        self.pid = self._process.pid

    def kill(self) -> None:
        """kill -9: the process and its children are gone at once, without a last word."""
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass  # it has ended by itself
        self._process.wait(10)

    def stop(self, timeout_s: float = PATIENCE_S) -> int:
        """SIGTERM to the main process, as a service manager does; its exit status."""
        self._process.terminate()
        return self._process.wait(timeout_s)

    def wait(self, timeout_s: float = PATIENCE_S) -> int:
        return self._process.wait(timeout_s)

    def until(self, condition: Callable[[], bool], timeout_s: float = PATIENCE_S) -> None:
        """Until the condition holds, with the log in the error if it never does."""
        ends = time.monotonic() + timeout_s
        while not condition():
            assert self._process.poll() is None, f"it ended with {self._process.returncode}:\n{self.log()}"
            assert time.monotonic() < ends, f"it did not happen within {timeout_s:g} s:\n{self.log()}"
            time.sleep(0.05)

    def log(self) -> str:
        return self.log_file.read_text(errors="replace")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        from tests.fakes.log_watch import (
            WATCH,  # not in the process itself, whose path begins with this folder
        )

        self.kill()
        WATCH.read_file(self.log())


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _main(kind: str) -> None:
    from hooks import bootstrap
    from tests.fakes.assessments import MODEL
    from tests.fakes.reading import FakeReader

    seconds = float(os.environ.get("LEUKOCDS_TEST_READER_SECONDS", "0"))
    bootstrap.model_identity = lambda settings: MODEL
    bootstrap.load_reader = lambda settings: FakeReader(seconds=seconds)

    from cds.errors import ConfigurationError
    from cds.settings import Settings
    from hooks import serve, worker

    try:
        {"serve": serve.run, "worker": worker.run}[kind](Settings.from_env())
    except ConfigurationError as error:
        sys.exit(f"configuration: {error}")


if __name__ == "__main__":
    sys.path.remove(str(Path(__file__).parent))  # its name shadows nothing, its neighbours' might
    _main(sys.argv[1])
