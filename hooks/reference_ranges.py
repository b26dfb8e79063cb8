"""Reference ranges of the differential, from a TOML file that a laboratory replaces by its own."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from cds.errors import ConfigurationError
from cds.language import LANGUAGES
from cds.settings import PREFIX
from cds.toml_files import read_toml

_FIELDS = {"population", "source", "address", "percent", *LANGUAGES[1:]}


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceRanges:
    """percent: cell type to lowest and highest share of white cells, 0 to 100."""

    population: str
    source: str
    address: str = ""
    percent: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    #: Language to population and source in it, where the file says them in more than one.
    others: Mapping[str, tuple[str, str]] = field(default_factory=dict)

    def said_in(self, language: str) -> "ReferenceRanges":
        """The same with population and source in that language, as far as the file has them."""
        population, source = self.others.get(language, (self.population, self.source))
        return replace(self, population=population, source=source)

    def of(self, cell_type: str) -> tuple[float, float] | None:
        return self.percent.get(cell_type)

    def side(self, cell_type: str, share: float) -> str:
        """`low`, `high`, or nothing where the share (0 to 1) is within the range or there is none."""
        limits = self.of(cell_type)
        if limits is None:
            return ""
        low, high = limits
        return "low" if 100 * share < low else "high" if 100 * share > high else ""


def bundled_ranges() -> Path:
    return Path(__file__).with_name("reference_ranges.toml")


def load_ranges(path: Path) -> ReferenceRanges:
    """Raises ConfigurationError: no such file, not TOML, or not as the bundled file describes it."""
    try:
        content = read_toml(path)
    except ValueError as error:
        raise _wrong(path, str(error)) from None
    if unknown := set(content) - _FIELDS:
        raise _wrong(path, f"has unknown fields: {', '.join(sorted(unknown))}")
    texts = {name: content.get(name, "") for name in ("population", "source", "address")}
    if not all(isinstance(text, str) for text in texts.values()) or not (
        texts["population"] and texts["source"]
    ):
        raise _wrong(path, "needs population and source as text")
    if texts["address"] and not texts["address"].startswith(("https://", "http://")):
        raise _wrong(path, "has an address that is no http(s) address")
    percent = content.get("percent", {})
    if not isinstance(percent, dict):
        raise _wrong(path, "needs a table [percent]")
    return ReferenceRanges(
        **texts,
        percent={name: _limits(path, name, pair) for name, pair in percent.items()},
        others={
            language: _texts(path, language, content[language])
            for language in LANGUAGES
            if language in content
        },
    )


def _texts(path: Path, language: str, table: Any) -> tuple[str, str]:
    texts = table if isinstance(table, dict) else {}
    population, source = texts.get("population"), texts.get("source")
    if (
        set(texts) != {"population", "source"}
        or not isinstance(population, str)
        or not isinstance(source, str)
    ):
        raise _wrong(path, f"needs population and source, and nothing else, as text in [{language}]")
    return population, source


def _limits(path: Path, name: str, pair: Any) -> tuple[float, float]:
    numbers = isinstance(pair, list) and all(
        isinstance(n, int | float) and not isinstance(n, bool) for n in pair
    )
    if not numbers or len(pair) != 2 or not 0 <= pair[0] <= pair[1] <= 100:
        raise _wrong(path, f"percent.{name} must be [lowest, highest] between 0 and 100")
    return float(pair[0]), float(pair[1])


def _wrong(path: Path, what: str) -> ConfigurationError:
    return ConfigurationError(f"{PREFIX}REFERENCE_RANGES: {path} {what}")
