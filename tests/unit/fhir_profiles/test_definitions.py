"""The generated part of fhir_profiles: up to date with its sources, whole, and in an order that a server can take.

`tests/servers/test_profiles_up_to_date.py` generates it anew and compares.
"""

import io
import json
import re
import tarfile

import pytest

from fhir_profiles import definitions as module
from fhir_profiles.codes import CANONICAL
from fhir_profiles.definitions import (
    FOLDER,
    PACKAGE,
    VERSION,
    definitions,
    examples,
    install_bundle,
    sources_digest,
)


def test_the_sources_are_those_that_the_definitions_were_generated_from():
    assert (FOLDER / "sources.sha256").read_text().strip() == sources_digest(), "run `make profiles`"


def test_a_changed_source_is_noticed(tmp_path, monkeypatch):
    (tmp_path / "fsh").mkdir()
    for path in (FOLDER / "sushi-config.yaml", *(FOLDER / "fsh").glob("*.fsh")):
        (tmp_path / path.relative_to(FOLDER)).write_bytes(path.read_bytes())
    monkeypatch.setattr(module, "FOLDER", tmp_path)
    before = sources_digest()
    with (tmp_path / "fsh" / "rules.fsh").open("a") as file:
        file.write("// more\n")
    assert sources_digest() != before == (FOLDER / "sources.sha256").read_text().strip()


def test_one_profile_or_extension_stands_in_a_file():
    for path in (FOLDER / "fsh").glob("*.fsh"):
        declared = re.findall(r"^(?:Profile|Extension): (\w+)", path.read_text(), re.MULTILINE)
        assert len(declared) <= 1, path.name


def test_versions_and_canonical_addresses_agree():
    config = (FOLDER / "sushi-config.yaml").read_text()
    assert f"\nversion: {VERSION}\n" in config
    assert f"\ncanonical: {CANONICAL}\n" in config
    for resource in definitions():
        assert resource["version"] == VERSION
        assert resource["status"] == "active"
        assert resource["url"].startswith(
            (f"{CANONICAL}/{resource['resourceType']}/leukocds-", "urn:leukocds:")
        )


def test_what_a_definition_refers_to_comes_before_it():
    ours = {resource["url"] for resource in definitions()}
    before = set()
    for resource in definitions():
        referred = set(re.findall(r'"((?:http://leukocds\.org|urn:leukocds)[^"|]*)"', json.dumps(resource)))
        needed = referred & ours - {resource["url"]}
        if resource["resourceType"] == "StructureDefinition":
            # References among profiles run in circles; parents, extensions and value sets do not.
            needed = {url for url in needed if "ValueSet" in url or url == resource["baseDefinition"]}
        assert needed <= before, resource["id"]
        before.add(resource["url"])
    assert len(before) == len(definitions()) > 30


def test_the_bundle_puts_each_under_its_id():
    entries = install_bundle()["entry"]
    assert [e["request"]["url"] for e in entries] == [f"{r['resourceType']}/{r['id']}" for r in definitions()]
    assert {e["request"]["method"] for e in entries} == {"PUT"}


@pytest.mark.parametrize(("folder", "held"), [("package", definitions), ("package/example", examples)])
def test_the_package_holds_the_same_and_an_index_of_it(folder, held):
    with tarfile.open(PACKAGE) as tar:
        files = {m.name: tar.extractfile(m).read() for m in tar.getmembers()}
    about = json.loads(files["package/package.json"])
    assert (about["name"], about["version"], about["fhirVersions"]) == (
        "leukocds.fhir.r4",
        VERSION,
        ["4.0.1"],
    )
    assert about["dependencies"] == {"hl7.fhir.r4.core": "4.0.1"}
    index = json.loads(files[f"{folder}/.index.json"])
    assert index["index-version"] == 2
    inside = {
        name: json.loads(content)
        for name, content in files.items()
        if name.rpartition("/")[0] == folder
        and name.rpartition("/")[2] not in ("package.json", ".index.json")
    }
    assert sorted(inside) == [f"{folder}/{entry['filename']}" for entry in index["files"]]
    assert sorted(inside.values(), key=json.dumps) == sorted(held(), key=json.dumps)
    for entry in index["files"]:
        resource = inside[f"{folder}/{entry['filename']}"]
        assert {name: resource[name] for name in ("resourceType", "id")} == {
            name: entry[name] for name in ("resourceType", "id")
        }
        assert entry.get("url") == resource.get("url")


def test_the_package_is_a_gzip_file_without_a_time():
    content = PACKAGE.read_bytes()
    assert content[:2] == b"\x1f\x8b"
    assert content[4:8] == bytes(4)
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        assert {member.mtime for member in tar.getmembers()} == {0}
