#!/usr/bin/env python3
"""The real servers under the tests: HAPI FHIR R4, Orthanc, Redis and PostgreSQL, on loopback.

    servers.py start            install (root on Debian), start what is not running, print the addresses
    servers.py stop             end exactly the processes that `start` began
    servers.py status           print the addresses
    servers.py run -- COMMAND   start, run COMMAND, stop what this call started; its exit status is COMMAND's

A server that cannot be had is named with its remedy. `start` then fails; `run` goes on without it, and in the end fails
under LEUKOCDS_REQUIRE_SERVERS=1. Ports are LEUKOCDS_SERVERS_<NAME>_PORT, or a default, or the next free one after it.
Every start begins with empty data folders below `.servers/`. Standard library only: runs before anything is installed.
"""

import argparse
import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType

from server_process import ProcessId, is_alive, spawn, stop, tail
from server_recipes import HAPI_CACHE, RECIPES, ROOT, TOOLS, Recipe, Tool

FOLDER = ROOT / ".servers"
STATE = FOLDER / "state.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    name: str
    url: str
    port: int
    pid: int
    started: str
    scratch: str | None = None

    @property
    def identity(self) -> ProcessId:
        return ProcessId(pid=self.pid, started=self.started)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("start")
    commands.add_parser("stop")
    commands.add_parser("status")
    run = commands.add_parser("run")
    run.add_argument("program", nargs=argparse.REMAINDER)
    options = parser.parse_args(arguments)
    # A `run` that is terminated, or whose terminal closes, must still stop its servers: by way of its `finally`.
    for ending in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, _exit_on_signal)
    FOLDER.mkdir(mode=0o755, exist_ok=True)
    if options.command == "start":
        left_out = start_all([])
        print(_table(_load().values(), left_out))
        return 1 if left_out else 0
    if options.command == "stop":
        return _stop_command()
    if options.command == "status":
        alive = [s for s in _load().values() if is_alive(s.identity)]
        print(_table(alive, {}) if alive else "no server is running")
        return 0
    return _run_command([part for part in options.program if part != "--"])


def start_all(started: list[str]) -> dict[str, str]:
    """Start what is not running. Returns name to reason for those left out.

    What this call launches is put into `started` at once, so that an interrupted caller knows what to stop.
    """
    with _locked():
        running = {name: s for name, s in _load().items() if is_alive(s.identity)}
        lacking_servers = [r for r in RECIPES if r.name not in running and r.missing()]
        _install([*lacking_servers, *(tool for tool in TOOLS if tool.missing())])
        left_out: dict[str, str] = {}
        # All of them are launched before any is waited for: HAPI alone takes most of a minute.
        for recipe in (r for r in RECIPES if r.name not in running):
            lacking = recipe.missing()
            if lacking:
                left_out[recipe.name] = f"{' and '.join(lacking)} not found; {_remedy(recipe)}"
                continue
            try:
                running[recipe.name] = _launch(recipe)
            except (OSError, RuntimeError, subprocess.SubprocessError) as error:
                left_out[recipe.name] = str(error)
                continue
            _save(running, left_out)
            started.append(recipe.name)
        for recipe in (r for r in RECIPES if r.name in running):
            if not _wait(recipe, running[recipe.name]):
                reason = f"not ready within {recipe.patience_s:g} s: {tail(FOLDER / f'{recipe.name}.log')}"
                left_out[recipe.name] = reason
                _end(recipe, running.pop(recipe.name))
        _save(running, left_out)
        return left_out


def stop_all(names: Sequence[str]) -> list[str]:
    """End those of `names` that run and are ours. Returns the names that were ended."""
    with _locked():
        running = _load()
        ended = []
        for recipe in RECIPES:
            if recipe.name in names and recipe.name in running:
                if _end(recipe, running.pop(recipe.name)):
                    ended.append(recipe.name)
                _save(running, {})
        return ended


def _stop_command() -> int:
    ended = stop_all([r.name for r in RECIPES])
    print(f"stopped: {', '.join(ended)}" if ended else "no server was running")
    return 0


def _run_command(program: Sequence[str]) -> int:
    if not program:
        print("servers.py run: no command given", file=sys.stderr)
        return 2
    started: list[str] = []
    try:
        left_out = start_all(started)
        print(_table(_load().values(), left_out), flush=True)
        status = subprocess.run(program, cwd=ROOT, check=False).returncode
        required = os.environ.get("LEUKOCDS_REQUIRE_SERVERS") == "1"
        return status or int(required and bool(left_out))
    except KeyboardInterrupt:
        return 130
    finally:
        # Silently: the last line printed stays the command's own.
        stop_all(started)


def _launch(recipe: Recipe) -> Running:
    folder = FOLDER / recipe.name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o755)
    HAPI_CACHE.mkdir(parents=True, exist_ok=True)
    port = _port(recipe)
    print(f"starting {recipe.name} on port {port}", file=sys.stderr, flush=True)
    launch = recipe.prepare(folder, port)
    log = FOLDER / f"{recipe.name}.log"
    identity = spawn(launch.command, log=log, cwd=launch.scratch or folder, user=launch.user)
    (FOLDER / f"{recipe.name}.pid").write_text(f"{identity.pid}\n")
    return Running(
        name=recipe.name,
        url=launch.url,
        port=port,
        pid=identity.pid,
        started=identity.started,
        scratch=str(launch.scratch) if launch.scratch else None,
    )


def _end(recipe: Recipe, server: Running) -> bool:
    was_alive = stop(server.identity, first=recipe.stop_signal)
    (FOLDER / f"{recipe.name}.pid").unlink(missing_ok=True)
    if server.scratch:
        shutil.rmtree(server.scratch, ignore_errors=True)
    return was_alive


def _wait(recipe: Recipe, server: Running) -> bool:
    patience_s = float(os.environ.get("LEUKOCDS_SERVERS_PATIENCE_S", recipe.patience_s))
    ends = time.monotonic() + patience_s
    while time.monotonic() < ends and is_alive(server.identity):
        if recipe.is_ready(server.port):
            return True
        time.sleep(0.25)
    return False


def _port(recipe: Recipe) -> int:
    """The port that was asked for, or the default; where somebody else has the default, the next free one."""
    named = os.environ.get(f"LEUKOCDS_SERVERS_{recipe.name.upper()}_PORT")
    if named:
        if not _is_free(int(named)):
            raise RuntimeError(f"port {named} is in use by another program")
        return int(named)
    return next(p for p in range(recipe.default_port, recipe.default_port + 40) if _is_free(p))


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def _may_install() -> bool:
    asked = os.environ.get("LEUKOCDS_SERVERS_INSTALL", "1") != "0"
    return asked and os.geteuid() == 0 and shutil.which("apt-get") is not None


def _install(recipes: Iterable[Recipe | Tool]) -> None:
    """Debian packages, without letting them start services of their own (policy-rc.d(8): 101 forbids)."""
    steps = [["install", "-y", "--no-install-recommends", *recipe.packages] for recipe in recipes]
    if not steps or not _may_install():
        return
    policy = Path("/usr/sbin/policy-rc.d")
    ours = not policy.exists()
    if ours:
        policy.write_text("#!/bin/sh\nexit 101\n")
        policy.chmod(0o755)
    try:
        environ = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        for step in (["update"], *steps):
            print(f"apt-get {' '.join(step)}", file=sys.stderr, flush=True)
            done = subprocess.run(
                ["apt-get", "-q", *step],
                env=environ,
                capture_output=True,
                text=True,
                timeout=1200,
                check=False,
            )
            if done.returncode != 0:
                # Not fatal here: whatever is still missing is reported, with its remedy, server by server.
                print(f"apt-get {step[0]} failed: {done.stderr.strip()[-800:]}", file=sys.stderr)
    finally:
        if ours:
            policy.unlink()


def _remedy(recipe: Recipe) -> str:
    command = f"apt-get install {' '.join(recipe.packages)}"
    return f"`{command}` did not bring it" if _may_install() else f"as root on Debian: {command}"


def _table(servers: Iterable[Running], left_out: Mapping[str, str]) -> str:
    rows = [f"  {s.name:<9} {s.url:<58} pid {s.pid}" for s in servers]
    rows += [f"  {name:<9} LEFT OUT: {reason}" for name, reason in left_out.items()]
    return "\n".join(["test servers:", *rows])


def _load() -> dict[str, Running]:
    if not STATE.exists():
        return {}
    return {name: Running(**values) for name, values in json.loads(STATE.read_text())["running"].items()}


def _save(running: Mapping[str, Running], left_out: Mapping[str, str]) -> None:
    state = {
        "running": {name: asdict(server) for name, server in running.items()},
        "left_out": dict(left_out),
    }
    fresh = STATE.with_suffix(".new")
    fresh.touch(mode=0o600)  # it holds PostgreSQL's password
    fresh.write_text(json.dumps(state, indent=2) + "\n")
    fresh.replace(STATE)


@contextmanager
def _locked() -> Iterator[None]:
    """One command at a time works on the servers of this checkout."""
    with (FOLDER / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _exit_on_signal(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
