"""The real `leukocds serve`, as a process of its own with settings for the demo's hospital."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import requests

from cds.settings import PREFIX

STOP_TIMEOUT_S = 15.0
#: Besides the level of the log the only setting that is taken over from the environment of `leukocds demo`.
_INHERITED = ("MODEL_PACKAGE", "LANGUAGE")


class ServeFailed(Exception):
    """It ended by itself or did not become ready."""


class Serving:
    """`with Serving(folder, settings) as serving:` runs it until the block ends.

    folder: where its log and database lie. settings: names as in `cds.settings`, besides host, port and database.
    """

    def __init__(self, folder: Path, settings: Mapping[str, str]) -> None:
        self._log = folder / "serve.log"
        port = _free_port()
        self.url = f"http://127.0.0.1:{port}"
        own = {
            "host": "127.0.0.1",
            "port": str(port),
            "database_url": f"sqlite:///{folder / 'leukocds.db'}",
            # What is printed of the log is printed because something went wrong.
            "log_level": os.environ.get(f"{PREFIX}LOG_LEVEL") or "WARNING",
        }
        self._environ = {
            name: text
            for name, text in os.environ.items()
            if not name.startswith(PREFIX) or name.removeprefix(PREFIX) in _INHERITED
        } | {PREFIX + name.upper(): text for name, text in {**own, **settings}.items()}

    def __enter__(self) -> Self:
        with self._log.open("wb") as log:
            # A session of its own: Ctrl-C in the terminal is for the demo, which then ends this in order.
            self._process = subprocess.Popen(
                [sys.executable, "-m", "hooks.cli", "serve"],
                env=self._environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def wait_until_ready(self, timeout_s: float) -> None:
        """Until `/ready` says so. Raises ServeFailed with the end of its log."""
        end = time.monotonic() + timeout_s
        said = "no answer"
        while time.monotonic() < end:
            if self._process.poll() is not None:
                raise ServeFailed(
                    f"leukocds serve ended with status {self._process.returncode}\n{self.log_tail()}"
                )
            try:
                answer = requests.get(f"{self.url}/ready", timeout=5)
                if answer.status_code == 200:
                    return
                said = answer.text[:500]
            except requests.RequestException as error:
                said = type(error).__name__
            time.sleep(0.1)
        raise ServeFailed(f"leukocds serve was not ready after {timeout_s:g} s: {said}\n{self.log_tail()}")

    def log_tail(self, lines: int = 15) -> str:
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-lines:])


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
