"""`servers.py` with one tiny server instead of the four: what it starts, finds again, stops and says."""

import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

SCRIPTS = Path(__file__).resolve().parents[3] / "scripts"


class Sleeper:
    name = "sleeper"
    default_port = 18970
    packages = ("sleeper",)
    stop_signal = signal.SIGTERM
    patience_s = 10.0

    def __init__(self, *, present: bool = True, ready: bool = True) -> None:
        self.present, self.ready = present, ready

    def missing(self) -> list[str]:
        return [] if self.present else ["a sleeper"]

    def prepare(self, folder: Path, port: int):
        from server_recipes import Launch

        assert not list(folder.iterdir())
        return Launch(
            command=[sys.executable, "-c", "import time; time.sleep(60)"], url=f"http://127.0.0.1:{port}"
        )

    def is_ready(self, port: int) -> bool:
        return self.ready


@pytest.fixture
def servers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    monkeypatch.setenv("LEUKOCDS_SERVERS_INSTALL", "0")
    monkeypatch.delenv("LEUKOCDS_REQUIRE_SERVERS", raising=False)
    import servers

    monkeypatch.setattr(servers, "FOLDER", tmp_path / ".servers")
    monkeypatch.setattr(servers, "STATE", tmp_path / ".servers" / "state.json")
    monkeypatch.setattr(servers, "HAPI_CACHE", tmp_path / "cache")
    monkeypatch.setattr(servers, "RECIPES", (Sleeper(),))
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    yield servers
    servers.main(["stop"])
    for number, handler in before.items():
        signal.signal(number, handler)


def test_start_finds_again_what_it_started_and_stop_ends_it(servers: ModuleType, capsys) -> None:
    assert servers.main(["start"]) == 0
    first = servers._load()["sleeper"]
    assert servers.main(["start"]) == 0
    assert servers._load()["sleeper"] == first
    assert servers.is_alive(first.identity)
    assert servers.main(["stop"]) == 0
    assert not servers.is_alive(first.identity)
    assert "stopped: sleeper" in capsys.readouterr().out
    assert servers.main(["stop"]) == 0
    assert "no server was running" in capsys.readouterr().out


def test_run_passes_the_status_on_says_nothing_after_the_command_and_stops(
    servers: ModuleType, capfd
) -> None:
    state = servers.STATE
    look = (
        f"import json, sys; print(json.load(open({str(state)!r}))['running']['sleeper']['pid']); sys.exit(7)"
    )
    assert servers.main(["run", "--", sys.executable, "-c", look]) == 7
    last = capfd.readouterr().out.splitlines()[-1]
    assert last.isdigit(), "the command saw the server running, and its own line is the last"
    assert json.loads(state.read_text())["running"] == {}


def test_run_leaves_running_what_ran_before(servers: ModuleType) -> None:
    servers.main(["start"])
    assert servers.main(["run", "--", sys.executable, "-c", ""]) == 0
    assert servers.is_alive(servers._load()["sleeper"].identity)


def test_a_terminated_run_stops_its_server(servers: ModuleType) -> None:
    itself = f"import os, signal, time; os.kill({os.getpid()}, signal.SIGTERM); time.sleep(30)"
    with pytest.raises(SystemExit) as ended:
        servers.main(["run", "--", sys.executable, "-c", itself])
    assert ended.value.code == 128 + signal.SIGTERM
    assert servers._load() == {}


def test_a_missing_server_is_named_with_its_remedy(
    servers: ModuleType, monkeypatch: pytest.MonkeyPatch, capfd
) -> None:
    monkeypatch.setattr(servers, "RECIPES", (Sleeper(present=False),))
    assert servers.main(["start"]) == 1
    assert "a sleeper not found; as root on Debian: apt-get install sleeper" in capfd.readouterr().out
    command = ["run", "--", sys.executable, "-c", "print('went on')"]
    assert servers.main(command) == 0
    assert "went on" in capfd.readouterr().out
    monkeypatch.setenv("LEUKOCDS_REQUIRE_SERVERS", "1")
    assert servers.main(command) == 1
    assert capfd.readouterr().out.splitlines()[-1] == "went on"


def test_a_server_that_never_gets_ready_is_ended_and_reported(
    servers: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.setenv("LEUKOCDS_SERVERS_PATIENCE_S", "0.3")
    monkeypatch.setattr(servers, "RECIPES", (Sleeper(ready=False),))
    assert servers.main(["start"]) == 1
    assert "not ready within" in capsys.readouterr().out
    assert servers._load() == {}


def test_a_default_port_in_use_is_left_to_its_owner(
    servers: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as owner:
        taken = owner.getsockname()[1]
        monkeypatch.setattr(Sleeper, "default_port", taken)
        assert servers.main(["start"]) == 0
        assert servers._load()["sleeper"].port != taken
        servers.main(["stop"])
        monkeypatch.setenv("LEUKOCDS_SERVERS_SLEEPER_PORT", str(taken))
        assert servers.main(["start"]) == 1
