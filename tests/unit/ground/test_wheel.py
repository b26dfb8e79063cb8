"""What the wheel holds, and who owns the four generic import names."""

import configparser
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PACKAGES = ("cds", "hooks", "models", "fhir_profiles")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy: setuptools would otherwise take up what an earlier build left in the working tree."""
    source = tmp_path_factory.mktemp("source")
    for name in PACKAGES:
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    return source


@pytest.fixture(scope="module")
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> zipfile.Path:
    folder = tmp_path_factory.mktemp("wheel")
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "wheel",
            "-q",
            "--no-deps",
            "--no-build-isolation",
            "-w",
            folder,
            source,
        ],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (built,) = folder.glob("leukocds-*.whl")
    return zipfile.Path(built)


def test_wheel_owns_four_packages_and_one_command(wheel: zipfile.Path) -> None:
    tops = {entry.name for entry in wheel.iterdir()}
    info = next(name for name in tops if name.endswith(".dist-info"))
    assert tops == {*PACKAGES, info}
    commands = configparser.ConfigParser()
    commands.read_string((wheel / info / "entry_points.txt").read_text(encoding="utf-8"))
    assert dict(commands["console_scripts"]) == {"leukocds": "hooks.cli:main"}
    metadata = (wheel / info / "METADATA").read_text(encoding="utf-8")
    assert "Classifier: Private :: Do Not Upload" in metadata


def test_wheel_holds_every_file_of_the_packages(wheel: zipfile.Path, source: Path) -> None:
    names = wheel.root.namelist()
    held = {n for n in names if n.startswith(tuple(f"{p}/" for p in PACKAGES)) and not n.endswith("/")}
    written = {
        path.relative_to(source).as_posix()
        for package in PACKAGES
        for path in (source / package).rglob("*")
        if path.is_file()
    }
    assert held == written


@pytest.mark.parametrize("needed", ["cds/migrations/env.py", "cds/migrations/versions/", "models/bundled/"])
def test_wheel_holds_what_serving_needs(wheel: zipfile.Path, needed: str) -> None:
    assert any(name.startswith(needed) for name in wheel.root.namelist())


def test_bundled_model_is_whole(wheel: zipfile.Path) -> None:
    bundled = [name for name in wheel.root.namelist() if name.startswith("models/bundled/")]
    assert any(name.endswith("/card.json") for name in bundled)
    assert any(name.endswith(".onnx") for name in bundled)


def test_nobody_else_installs_our_import_names() -> None:
    owners = packages_distributions()
    assert {name: set(owners.get(name, ())) for name in PACKAGES} == {name: {"leukocds"} for name in PACKAGES}
