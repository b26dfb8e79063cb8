"""A server process that outlives the command that started it, and is ended by nobody's mistake.

A process id alone can come to name somebody else's process; so what is remembered is the id, the moment at which that
process started, and the boot of the machine. Only a process that still answers to all of it is ever signalled.
"""

import os
import pwd
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessId:
    """`started` is opaque: it differs between any two processes that ever had the same `pid`."""

    pid: int
    started: str


def spawn(command: Sequence[str], *, log: Path, cwd: Path, user: str | None = None) -> ProcessId:
    """Start `command` in a session of its own, output into `log`; `user` only as root."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=cwd,
            start_new_session=True,
            **as_user(user),
        )
    started = _started(process.pid)
    if started is None:
        raise RuntimeError(f"{command[0]} ended at once: {tail(log)}")
    # The process is meant to go on when this one ends: its id, not this object, is what counts from here.
    process.returncode = 0
    return ProcessId(pid=process.pid, started=started)


def is_alive(identity: ProcessId) -> bool:
    return _started(identity.pid) == identity.started


def stop(identity: ProcessId, *, first: signal.Signals, patience_s: float = 20.0) -> bool:
    """End that very process: `first`, and SIGKILL when it does not go. False when it was gone already."""
    if not is_alive(identity):
        return False
    for step, pause_s in ((first, patience_s), (signal.SIGKILL, 5.0)):
        try:
            os.kill(identity.pid, step)
        except ProcessLookupError:
            return True
        ends = time.monotonic() + pause_s
        while time.monotonic() < ends:
            if not is_alive(identity):
                return True
            time.sleep(0.05)
    raise RuntimeError(f"process {identity.pid} does not end")


def as_user(user: str | None) -> dict[str, Any]:
    """Keyword arguments that make `subprocess` run something as `user`, without root's groups."""
    if user is None:
        return {}
    entry = pwd.getpwnam(user)
    environ = {**_plain_environ(os.environ), "HOME": entry.pw_dir, "USER": user}
    return {"user": user, "group": entry.pw_gid, "extra_groups": [], "env": environ}


def tail(log: Path, lines: int = 15) -> str:
    if not log.exists():
        return "(nothing logged)"
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])


def _plain_environ(environ: Mapping[str, str]) -> dict[str, str]:
    return {name: environ[name] for name in ("PATH", "LANG", "TZ") if name in environ}


def _started(pid: int) -> str | None:
    """When the live process `pid` started; None when there is none. A zombie is not alive (and reaped if ours)."""
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        pass  # started by an earlier command: somebody else's child
    if not Path("/proc/self/stat").exists():
        return _started_by_ps(pid)
    try:
        # proc(5): the command name, in parentheses, may hold anything; state is field 3, start time field 22.
        state, *rest = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return None if state in "ZX" else f"{boot}:{rest[18]}"


def _started_by_ps(pid: int) -> str | None:
    done = subprocess.run(
        ["ps", "-o", "state=,lstart=", "-p", str(pid)],
        capture_output=True,
        text=True,
        timeout=10,
        check=False,
    )
    state, _, started = done.stdout.strip().partition(" ")
    return None if not state or state.startswith("Z") else started.strip()
