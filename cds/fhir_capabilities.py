"""What a FHIR server says that it can do (FHIR R4, CapabilityStatement), as far as it matters to us.

Statements are often thin and sometimes wrong. What one does not say is None here, so that whoever asks decides what to
make of it; a setting overrules them all.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from cds.ports import Resource


class Way(StrEnum):
    """How resources that belong together are written."""

    TRANSACTION = "transaction"
    SINGLE = "single"
    NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ability:
    """What a server says of one resource type. conditional_create: None where it does not say."""

    interactions: frozenset[str] = frozenset()
    conditional_create: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What a server says of itself; nothing of what it says has the wrong type."""

    software: str | None = None
    version: str | None = None
    #: None where the server says nothing of any interaction.
    transaction: bool | None = None
    resources: Mapping[str, Ability] = field(default_factory=dict)

    @classmethod
    def of(cls, statement: Resource) -> "Capabilities":
        """From a CapabilityStatement; what has the wrong type counts as absent."""
        servers = [r for r in _dicts(statement.get("rest")) if r.get("mode", "server") == "server"]
        said = {_text(i.get("code")) for r in servers for i in _dicts(r.get("interaction"))}
        resources = {
            kind: Ability(
                interactions=frozenset(
                    filter(None, (_text(i.get("code")) for i in _dicts(entry["interaction"])))
                )
                if "interaction" in entry
                else frozenset(),
                conditional_create=_bool(entry.get("conditionalCreate")),
            )
            for r in servers
            for entry in _dicts(r.get("resource"))
            if (kind := _text(entry.get("type"))) is not None
        }
        software = statement.get("software")
        return cls(
            software=_text(software.get("name")) if isinstance(software, dict) else None,
            version=_text(statement.get("fhirVersion")),
            transaction=("transaction" in said) if said or resources else None,
            resources=resources,
        )

    @property
    def way(self) -> Way:
        """The way that fits: one by one where no transactions are stated, since that works with every server; nothing
        where DiagnosticReports cannot be created. A server that says nothing is taken to do as most do."""
        report = self.resources.get("DiagnosticReport")
        if report is not None and report.interactions and "create" not in report.interactions:
            return Way.NONE
        return Way.SINGLE if self.transaction is False else Way.TRANSACTION

    def creates_conditionally(self, kind: str) -> bool | None:
        """Whether `If-None-Exist` is understood for that type; None where it does not say."""
        ability = self.resources.get(kind)
        return None if ability is None else ability.conditional_create

    def has(self, kind: str) -> bool | None:
        """Whether it can create resources of that type; None where it does not say."""
        if not self.resources:
            return None
        ability = self.resources.get(kind)
        return ability is not None and (not ability.interactions or "create" in ability.interactions)


def _dicts(value: Any) -> list[Resource]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _text(value: Any) -> str | None:
    return value[:80] if isinstance(value, str) and value else None


def _bool(value: Any) -> bool | None:
    return value if isinstance(value, bool) else None
