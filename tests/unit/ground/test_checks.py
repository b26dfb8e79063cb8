"""`make check`, so that whoever runs the tests has run the checks; and what no linter knows about our modules."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PACKAGES = ("cds", "hooks", "models", "fhir_profiles")
MAX_LINES = 400
#: Module to the reason why it may be longer.
LONG_MODULES: dict[str, str] = {
    "cds/settings.py": "one table of settings, read from top to bottom; the code below it is short",
}


@pytest.mark.parametrize(
    "command",
    [["ruff", "check", "."], ["ruff", "format", "--check", "."], ["mypy"], ["lint-imports"]],
    ids=["ruff-check", "ruff-format", "mypy", "import-contracts"],
)
def test_check_passes(command: list[str]) -> None:
    program = Path(sys.executable).parent / command[0]
    done = subprocess.run(
        [program, *command[1:]],
        cwd=ROOT,
        # lint-imports prints box drawings: without a UTF-8 locale they would be what fails.
        env={**os.environ, "PYTHONIOENCODING": "utf-8", "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"


def test_no_module_grows_beyond_what_one_reads_in_a_sitting() -> None:
    lengths = {
        path.relative_to(ROOT).as_posix(): len(path.read_text(encoding="utf-8").splitlines())
        for package in (*PACKAGES, "scripts")
        for path in (ROOT / package).rglob("*.py")
    }
    assert len(lengths) > 20
    too_long = {name: n for name, n in lengths.items() if n > MAX_LINES and name not in LONG_MODULES}
    assert not too_long, f"over {MAX_LINES} lines, without a reason in LONG_MODULES"
    stale = [name for name in LONG_MODULES if lengths.get(name, 0) <= MAX_LINES]
    assert not stale, "in LONG_MODULES, but not long (any more)"


def test_makefile_and_ci_run_the_same_checks() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for check in ("ruff check .", "ruff format --check .", "mypy", "lint-imports"):
        assert f"$(VENV)/bin/{check}\n" in makefile
    assert "make test" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def test_constraints_pin_every_dependency_and_name_no_address() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    assert all("==" in line and "/" not in line and "@" not in line for line in lines)
    pinned = {line.partition("==")[0].lower().replace("_", "-").replace(".", "-") for line in lines}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    asked = [
        *project["dependencies"],
        *(d for extra in project["optional-dependencies"].values() for d in extra),
    ]
    names = {
        requirement.split("[")[0]
        .split(">")[0]
        .split("=")[0]
        .strip()
        .lower()
        .replace("_", "-")
        .replace(".", "-")
        for requirement in asked
    }
    assert names <= pinned, f"not pinned: {names - pinned}"
