"""The orders that are proposed for each pattern, from a TOML file that a hospital may edit.

It is read and checked once, at start: a file with a mistake keeps the service from starting, and the message says which
step and what is wrong with it.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cds.errors import ConfigurationError
from cds.settings import PREFIX
from cds.toml_files import read_toml
from cds.values import Finding, Pattern
from fhir_profiles.codes import ORDER

#: Codes of orders that name no system: local ones, since every laboratory orders by its own catalogue.
ORDER_SYSTEM = ORDER
#: Not a pattern but the emergency that overrides it: its steps take the place of the pattern's.
POSSIBLE_APL = "possible-apl"
#: FHIR R4 request-priority, with the words that a suggestion's label begins with.
PRIORITIES: Mapping[str, str] = {
    "routine": "Order",
    "urgent": "Order urgently",
    "asap": "Order as soon as possible",
    "stat": "Order at once",
}
CATEGORIES = ("laboratory", "referral")

_PATTERNS = (*(pattern.value for pattern in Pattern), POSSIBLE_APL)
_REQUIRED = ("code", "display", "why")
_FIELDS = {"patterns", *_REQUIRED, "system", "priority", "category", "recommended"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One thing to order: its code and what a draft ServiceRequest needs besides."""

    code: str
    display: str
    why: str
    system: str = ORDER_SYSTEM
    priority: str = "routine"
    category: str = "laboratory"
    recommended: bool = True


@dataclass(frozen=True, slots=True)
class NextSteps:
    """Pattern (or POSSIBLE_APL) to what is proposed, in the order of the file."""

    by_pattern: Mapping[str, tuple[Order, ...]]

    def of(self, finding: Finding) -> tuple[Order, ...]:
        name = POSSIBLE_APL if finding.possible_apl else finding.pattern.value
        return self.by_pattern.get(name, ())


def bundled_next_steps() -> Path:
    return Path(__file__).with_name("next_steps.toml")


def load_next_steps(path: Path) -> NextSteps:
    """Raises ConfigurationError: no such file, not TOML, or a step that is not as the bundled file describes it."""
    try:
        content = read_toml(path)
    except ValueError as error:
        raise _wrong(path, str(error)) from None
    steps = content.get("step")
    if unknown := sorted(set(content) - {"step"}):
        raise _wrong(path, f"holds {unknown[0]!r}; it may hold nothing but [[step]] tables")
    if not isinstance(steps, list) or not all(isinstance(step, dict) for step in steps):
        raise _wrong(path, "holds no [[step]] tables")
    by_pattern: dict[str, tuple[Order, ...]] = {name: () for name in _PATTERNS}
    for number, step in enumerate(steps, start=1):
        try:
            order = _order(step)
            for name in _patterns(step):
                if any((o.system, o.code) == (order.system, order.code) for o in by_pattern[name]):
                    raise ValueError(f"{order.code!r} is a duplicate: pattern {name} has that code already")
                by_pattern[name] += (order,)
        except ValueError as error:
            raise _wrong(path, f"step {number}: {error}") from None
    return NextSteps(by_pattern)


def _order(step: dict[str, Any]) -> Order:
    if unknown := sorted(set(step) - _FIELDS):
        raise ValueError(f"{unknown[0]!r} is no field of a step; they are {', '.join(sorted(_FIELDS))}")
    for name in _REQUIRED:
        if name not in step:
            raise ValueError(f"{name} is missing")
    for name in (*_REQUIRED, "system"):
        text = step.get(name, ORDER_SYSTEM)
        if not isinstance(text, str) or not text.strip() or not text.isprintable():
            raise ValueError(f"{name} must be one line of text that is not empty")
    # FHIR R4, code and uri.
    if re.search(r"^\s|\s\s|\s$", step["code"]):
        raise ValueError("code must not begin or end with a space, nor hold two in a row")
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*:\S+", step.get("system", ORDER_SYSTEM)):
        raise ValueError(
            "system must be an absolute address, such as https://lab.example/orders or urn:oid:1.2.3"
        )
    for name, allowed in (("priority", tuple(PRIORITIES)), ("category", CATEGORIES)):
        if name in step and step[name] not in allowed:
            raise ValueError(f"{name} must be one of {', '.join(allowed)}")
    if not isinstance(step.get("recommended", True), bool):
        raise ValueError("recommended must be true or false")
    return Order(**{name: value for name, value in step.items() if name != "patterns"})


def _patterns(step: dict[str, Any]) -> list[str]:
    names = step.get("patterns")
    if not isinstance(names, list) or not names:
        raise ValueError("patterns is missing: name at least one")
    for name in names:
        if name not in _PATTERNS:
            raise ValueError(f"{name!r} is an unknown pattern; there are {', '.join(_PATTERNS)}")
    return names


def _wrong(path: Path, what: str) -> ConfigurationError:
    return ConfigurationError(f"{PREFIX}NEXT_STEPS: {path} {what}")
