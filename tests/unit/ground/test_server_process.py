"""The servers script ends its own processes and never anybody else's."""

import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).resolve().parents[3] / "scripts"
SLEEPER = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(60)"]
STUBBORN = [
    sys.executable,
    "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)",
]


@pytest.fixture(autouse=True)
def _scripts_on_the_path(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    return


def _spawn(command: list[str], folder: Path):
    import server_process

    log = folder / "log"
    identity = server_process.spawn(command, log=log, cwd=folder)
    ends = time.monotonic() + 20
    while "up" not in log.read_text() and time.monotonic() < ends:
        time.sleep(0.02)
    return server_process, identity


def test_ends_what_it_started(tmp_path: Path) -> None:
    processes, identity = _spawn(SLEEPER, tmp_path)
    assert processes.is_alive(identity)
    assert processes.stop(identity, first=signal.SIGTERM)
    assert not processes.is_alive(identity)
    assert not processes.stop(identity, first=signal.SIGTERM)


def test_leaves_a_process_alone_that_has_the_number_but_not_the_start(tmp_path: Path) -> None:
    processes, identity = _spawn(SLEEPER, tmp_path)
    somebody_else = replace(identity, started="another boot:12345")
    assert not processes.stop(somebody_else, first=signal.SIGKILL)
    assert processes.is_alive(identity)
    processes.stop(identity, first=signal.SIGTERM)


def test_kills_what_does_not_listen(tmp_path: Path) -> None:
    processes, identity = _spawn(STUBBORN, tmp_path)
    assert processes.stop(identity, first=signal.SIGTERM, patience_s=0.5)
    assert not processes.is_alive(identity)
