"""The committed definitions, examples and package are what their sources give, by SUSHI itself."""

import gzip
import json
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from fhir_profiles.definitions import FOLDER, PACKAGE, definitions, examples, sources_digest

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"


@pytest.fixture
def profiles(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    import profiles

    yield profiles
    for name in ("profiles", "profile_examples"):
        sys.modules.pop(name, None)


def _sorted(resources):
    return sorted(resources, key=lambda resource: (resource["resourceType"], resource["id"]))


@pytest.mark.timeout(900)
def test_sushi_makes_the_same_of_the_sources(profiles, tmp_path):
    try:
        profiles.seed_core_package(Path.home() / ".fhir" / "packages")
        made, instances = profiles.compile_fsh(tmp_path)
    except (FileNotFoundError, subprocess.SubprocessError) as error:
        # No Node, Maven or registry on this machine: then at least nobody has touched the sources since.
        warnings.warn(f"SUSHI cannot be had here ({error}); compared by digest", stacklevel=1)
        assert (FOLDER / "sources.sha256").read_text().strip() == sources_digest()
        return
    assert _sorted(made) == _sorted(definitions())
    ids = {(r["resourceType"], r["id"]) for r in instances}
    assert _sorted(instances) == _sorted(r for r in examples() if (r["resourceType"], r["id"]) in ids)
    assert len(instances) >= 3


def test_our_own_code_makes_the_same_examples(profiles):
    import profile_examples

    made = json.loads(json.dumps(profile_examples.examples()))
    committed = {(r["resourceType"], r["id"]): r for r in examples()}
    assert len(made) > 20
    for resource in made:
        assert resource == committed[resource["resourceType"], resource["id"]]


def test_the_package_and_the_code_systems_are_those_of_the_files(profiles):
    assert profiles.package() == gzip.decompress(PACKAGE.read_bytes())
    assert profiles.code_systems_fsh() == (FOLDER / "fsh" / "code_systems.fsh").read_text()
