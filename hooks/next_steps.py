"""The orders that are proposed for each pattern, from a TOML file that a hospital may edit.

It is read and checked once, at start: a file with a mistake keeps the service from starting, and the message says which
step and what is wrong with it.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cds.errors import ConfigurationError
from cds.language import LANGUAGES
from cds.settings import PREFIX
from cds.toml_files import read_toml
from cds.values import Finding, Pattern
from fhir_profiles.codes import ORDER

#: Codes of orders that name no system: local ones, since every laboratory orders by its own catalogue.
ORDER_SYSTEM = ORDER
#: Not a pattern but the emergency that overrides it: its steps take the place of the pattern's.
POSSIBLE_APL = "possible-apl"
#: FHIR R4 request-priority.
PRIORITIES = ("routine", "urgent", "asap", "stat")
CATEGORIES = ("laboratory", "referral")

_PATTERNS = (*(pattern.value for pattern in Pattern), POSSIBLE_APL)
_REQUIRED = ("code", "display", "why")
_FIELDS = {"patterns", *_REQUIRED, "system", "priority", "category", "recommended"}
#: What may be said in another language, in a table named by it.
_SAID = ("display", "why")
_OTHER_LANGUAGES = LANGUAGES[1:]


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One thing to order: its code and what a draft ServiceRequest needs besides.

    said: language to the fields of the file in it, where the file has it.
    """

    code: str
    display: str
    why: str
    system: str = ORDER_SYSTEM
    priority: str = "routine"
    category: str = "laboratory"
    recommended: bool = True
    said: Mapping[str, Mapping[str, str]] = field(default_factory=dict, hash=False)

    def display_in(self, language: str) -> str:
        return self.said.get(language, {}).get("display", self.display)

    def why_in(self, language: str) -> str:
        return self.said.get(language, {}).get("why", self.why)


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
    fields = {*_FIELDS, *_OTHER_LANGUAGES}
    if unknown := sorted(set(step) - fields):
        raise ValueError(f"{unknown[0]!r} is no field of a step; they are {', '.join(sorted(fields))}")
    for name in _REQUIRED:
        if name not in step:
            raise ValueError(f"{name} is missing")
    for name in (*_REQUIRED, "system"):
        _check_line(name, step.get(name, ORDER_SYSTEM))
    # FHIR R4, code and uri.
    if re.search(r"^\s|\s\s|\s$", step["code"]):
        raise ValueError("code must not begin or end with a space, nor hold two in a row")
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*:\S+", step.get("system", ORDER_SYSTEM)):
        raise ValueError(
            "system must be an absolute address, such as https://lab.example/orders or urn:oid:1.2.3"
        )
    for name, allowed in (("priority", PRIORITIES), ("category", CATEGORIES)):
        if name in step and step[name] not in allowed:
            raise ValueError(f"{name} must be one of {', '.join(allowed)}")
    if not isinstance(step.get("recommended", True), bool):
        raise ValueError("recommended must be true or false")
    said = {language: _said(language, step[language]) for language in _OTHER_LANGUAGES if language in step}
    return Order(**{name: step[name] for name in _FIELDS - {"patterns"} if name in step}, said=said)


def _said(language: str, texts: Any) -> Mapping[str, str]:
    if not isinstance(texts, dict) or set(texts) != set(_SAID):
        raise ValueError(f"{language} must be a table of {' and '.join(_SAID)}")
    for name, text in texts.items():
        _check_line(f"{language}.{name}", text)
    return texts


def _check_line(name: str, text: Any) -> None:
    if not isinstance(text, str) or not text.strip() or not text.isprintable():
        raise ValueError(f"{name} must be one line of text that is not empty")


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
