"""The command line as a whole: help, version, errors."""

import subprocess
import sys
from importlib.metadata import version

import pytest
from click.testing import CliRunner

from cds.errors import LeukoError, StoreError
from cds.settings import Settings
from hooks.cli import cli


def test_every_command_is_listed_with_a_help_line() -> None:
    result = CliRunner().invoke(cli, ["--help"])
    assert result.exit_code == 0
    for name in ("serve", "worker", "demo", "assess", "ingest", "check"):
        (line,) = [line for line in result.stdout.splitlines() if line.startswith(f"  {name} ")]
        assert len(line.split(maxsplit=1)[1]) > 10
        assert not line.endswith("...")


def test_the_version_is_the_distributions() -> None:
    result = CliRunner().invoke(cli, ["--version"])
    assert result.stdout.strip() == f"leukocds, version {version('leukocds')}"


@pytest.mark.parametrize("arguments", [[], ["--frobnicate"], ["frobnicate"], ["serve", "extra"]])
def test_wrong_use_is_status_2(arguments: list[str]) -> None:
    assert CliRunner().invoke(cli, arguments).exit_code == 2


def test_help_loads_nothing_heavy() -> None:
    script = (
        "import sys\n"
        "from hooks.cli import main\n"
        "try:\n    main(['--help'])\n"
        "except SystemExit:\n    pass\n"
        "heavy = {'torch', 'onnxruntime', 'cv2', 'celery', 'flask', 'sqlalchemy', 'pydicom', 'requests'}\n"
        "print('loaded:', sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.splitlines()[-1] == "loaded: []"


def test_a_malformed_setting_is_status_2_and_names_the_variable() -> None:
    result = CliRunner().invoke(cli, ["check"], env={"LEUKOCDS_PORT": "eighty"})
    assert result.exit_code == 2
    assert result.stderr.strip() == "Error: LEUKOCDS_PORT is not a int: 'eighty'"


@pytest.mark.parametrize("command", ["serve", "worker"])
def test_serve_and_worker_get_the_settings_of_the_environment(
    monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    got: list[Settings] = []
    monkeypatch.setattr(f"hooks.{command}.run", got.append)
    result = CliRunner().invoke(cli, [command], env={"LEUKOCDS_PORT": "8799"})
    assert result.exit_code == 0, result.output
    assert [settings.port for settings in got] == [8799]


def test_an_error_of_ours_is_one_line_and_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(settings: Settings) -> None:
        raise StoreError("the disk is full")

    monkeypatch.setattr("hooks.worker.run", fail)
    result = CliRunner().invoke(cli, ["worker"])
    assert (result.exit_code, result.stderr) == (1, "Error: the disk is full\n")
    debugged = CliRunner().invoke(cli, ["--debug", "worker"])
    assert debugged.exit_code == 1
    assert isinstance(debugged.exception, LeukoError)


def test_any_other_error_is_a_bug_and_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(settings: Settings) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("hooks.worker.run", fail)
    assert isinstance(CliRunner().invoke(cli, ["worker"]).exception, ZeroDivisionError)
