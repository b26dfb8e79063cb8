"""Our profiles and what belongs to them, as generated, and the order in which a server can take them."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent
VERSION = "0.1.0"
#: The same as a package, as the FHIR package specification has it.
PACKAGE = FOLDER / "leukocds.fhir.r4.tgz"
#: What refers to nothing of ours comes first: a server may refuse a profile whose value set or parent it lacks.
_ORDER = (
    "CodeSystem",
    "ValueSet",
    "SearchParameter",
    "Extension",
    "StructureDefinition",
    "CapabilityStatement",
)


def definitions() -> tuple[dict[str, Any], ...]:
    """CodeSystems, ValueSets, SearchParameters, StructureDefinitions, CapabilityStatement: in an order that works."""
    return tuple(sorted(_resources("definitions"), key=_place))


def examples() -> tuple[dict[str, Any], ...]:
    """One instance or more of each profile."""
    return tuple(sorted(_resources("examples"), key=lambda r: (r["resourceType"], r["id"])))


def install_bundle() -> dict[str, Any]:
    """The transaction that puts every definition on a server, in an order that works; repeating it changes nothing."""
    entries = [
        {"resource": r, "request": {"method": "PUT", "url": f"{r['resourceType']}/{r['id']}"}}
        for r in definitions()
    ]
    return {"resourceType": "Bundle", "type": "transaction", "entry": entries}


def sources_digest() -> str:
    """sha256 of what the definitions are generated from: the FSH files and SUSHI's configuration."""
    digest = hashlib.sha256()
    for path in sorted([FOLDER / "sushi-config.yaml", *(FOLDER / "fsh").glob("*.fsh")]):
        digest.update(path.relative_to(FOLDER).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def _resources(folder: str) -> Iterator[dict[str, Any]]:
    for path in (FOLDER / folder).glob("*.json"):
        yield json.loads(path.read_bytes())


def _place(resource: dict[str, Any]) -> tuple[int, bool, str]:
    kind = "Extension" if resource.get("type") == "Extension" else resource["resourceType"]
    # Of the profiles, those on one of our own come last.
    derived = "leukocds" in resource.get("baseDefinition", "")
    return _ORDER.index(kind), derived, str(resource["id"])
