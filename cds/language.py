"""What people read, in their language: messages with their values, and the catalogues that say them.

A `Message` is English text with named places and the values that go there. It is said only when it is shown, so that
what was stored yesterday is read today in the language of the one who looks. English needs no catalogue: it stands in
the code. Any other language is a gettext catalogue in each package, `PACKAGE/locale/LANGUAGE.po`, with the English text
as its key; `python -m scripts.catalogues` brings them up to date with the code.
"""

import gettext
import io
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import resources
from typing import Any

from babel.messages.catalog import Catalog
from babel.messages.mofile import write_mo
from babel.messages.pofile import PoFileError, read_po
from babel.numbers import format_decimal, get_decimal_symbol

from cds.errors import ConfigurationError

#: BCP 47 codes of the languages that cards, reports and pages are written in; the first is that of the code.
LANGUAGES: tuple[str, ...] = ("en", "de")
#: Packages with texts for people, each with a folder `locale`.
PACKAGES = ("fhir_profiles", "cds", "models", "hooks")


@dataclass(frozen=True, slots=True)
class Message:
    """A text for people, not yet in anybody's language; made by `message`, `message_in`, `counted` or `verbatim`.

    English text with places such as ``{name}`` or ``{share:percent}`` and the values that stand there: strings, numbers
    and messages. What may stand after the colon: `percent`, of a fraction in [0, 1]; `percent1`, with a digit after the
    point where it is below 10 and has one; `points` and `points1`, the same without the sign; `decimal0` to `decimal9`,
    a number with so many digits after the point. A place without anything shows its value as it is.
    """

    english: str
    values: Mapping[str, Any] = field(default_factory=dict)
    #: English for any count but one; the count is the value `count`.
    plural: str | None = None
    #: What tells this text from one of the same English and another meaning.
    context: str | None = None

    def __str__(self) -> str:
        return words("en").text(self)

    def __hash__(self) -> int:
        return hash((self.english, tuple(self.values.items()), self.plural, self.context))


#: What may be shown: a message, or text that came from outside and is the same in every language.
Text = Message | str


def message(english: str, /, **values: Any) -> Message:
    """A text of ours; each literal that is passed here is found for the catalogues."""
    return Message(english, values)


def message_in(context: str, english: str, /, **values: Any) -> Message:
    """Likewise, where the same English stands for two things, told apart by `context`."""
    return Message(english, values, context=context)


def counted(one: str, many: str, count: int, /, **values: Any) -> Message:
    """A text that depends on a count, which both forms may name as ``{count}``."""
    return Message(one, {**values, "count": count}, plural=many)


def verbatim(text: str) -> Message:
    """Text from outside as a message: the same in every language."""
    return Message("{verbatim}", {"verbatim": text})


def joined(parts: Sequence[Text], between: str) -> Message:
    """Texts one after another. between: what stands between two of them in every language."""
    places = {f"part{number}": part for number, part in enumerate(parts)}
    return Message(between.join(f"{{{name}}}" for name in places), places)


def said_by(error: Exception) -> Text:
    """What an error says, for people: errors may be raised with a message for their text."""
    said = error.args[0] if error.args else None
    return said if isinstance(said, Message) else str(error)


class Words:
    """The catalogue of one language. Safe for threads."""

    def __init__(self, language: str, translations: gettext.NullTranslations) -> None:
        self.language = language
        self._translations = translations
        self._decimal_sign = get_decimal_symbol(language)
        #: English and context to what is said for them, where it has places its parts: cards say some sixty texts each,
        #: always the same.
        self._said: dict[tuple[str, str | None], str | _Parts] = {}

    def text(self, said: Text) -> str:
        """In this language; English where the catalogue has nothing. Text from outside as it is."""
        if isinstance(said, str):
            return said
        if said.plural is not None:
            parts: str | _Parts = _parts(self._plural(said))
        else:
            key = (said.english, said.context)
            known = self._said.get(key)
            if known is None:
                known = self._said[key] = _whole(_parts(self._singular(said)))
            parts = known
        if isinstance(parts, str):
            return parts
        values = said.values
        return "".join(
            [part if place is None else self._value(values[place], spec) for part, place, spec in parts]
        )

    def percent(self, fraction: float) -> str:
        """A fraction in [0, 1] as whole percent; what is neither none nor all never reads 0 % or 100 %."""
        if 0 < fraction <= 0.005:
            return "< 1 %"
        if 0.995 <= fraction < 1:
            return "> 99 %"
        return f"{100 * fraction:.0f} %"

    def percent1(self, fraction: float) -> str:
        """A fraction in [0, 1] as percent, with a digit after the point where it is below 10 and has one."""
        return f"{self.points1(fraction)} %"

    def points(self, fraction: float) -> str:
        """Whole percent without the sign, for the first number of two."""
        return f"{100 * fraction:.0f}"

    def points1(self, fraction: float) -> str:
        """`percent1` without the sign."""
        points = round(100 * fraction, 1)
        return f"{points:g}".replace(".", self._decimal_sign) if points < 10 else f"{points:.0f}"

    def decimal(self, number: float, digits: int) -> str:
        """A number with so many digits after the decimal point, or comma."""
        pattern = "0." + "0" * digits if digits else "0"
        return format_decimal(round(number, digits), format=pattern, locale=self.language)

    def _plural(self, said: Message) -> str:
        assert said.plural is not None
        count = int(said.values["count"])
        if said.context is not None:
            return self._translations.npgettext(said.context, said.english, said.plural, count)
        return self._translations.ngettext(said.english, said.plural, count)

    def _singular(self, said: Message) -> str:
        if said.context is not None:
            return self._translations.pgettext(said.context, said.english)
        return self._translations.gettext(said.english) if said.english else ""

    def _value(self, value: Any, spec: str) -> str:
        if isinstance(value, Message):
            return self.text(value)
        if not spec:
            return str(value)
        if spec in ("percent", "percent1", "points", "points1"):
            said: str = getattr(self, spec)(value)
            return said
        if spec.startswith("decimal"):
            return self.decimal(value, int(spec.removeprefix("decimal")))
        raise ValueError(f"{spec!r} is no way to write a value")


@lru_cache(maxsize=len(LANGUAGES))
def words(language: str) -> Words:
    """The catalogue of one of LANGUAGES; read once a process.

    Raises ConfigurationError for another language, or a catalogue that cannot be read.
    """
    if language not in LANGUAGES:
        raise ConfigurationError(f"{language!r} is no language of ours: one of {', '.join(LANGUAGES)}")
    return Words(language, gettext.NullTranslations() if language == LANGUAGES[0] else _catalogues(language))


#: The language of the code, and of what operators and engineers read.
ENGLISH = words("en")


def _catalogues(language: str) -> gettext.NullTranslations:
    """Those of all packages as one; what two say is said as the first has it."""
    together = Catalog(locale=language)
    for package in PACKAGES:
        place = resources.files(package) / "locale" / f"{language}.po"
        try:
            with place.open("rb") as file:
                own = read_po(file, locale=language, abort_invalid=True)
        except (OSError, ValueError, PoFileError) as error:
            raise ConfigurationError(f"catalogue {package}/locale/{language}.po: {error}") from error
        for entry in own:
            if entry.id and together.get(entry.id, context=entry.context) is None:
                together.add(entry.id, entry.string, context=entry.context)
    compiled = io.BytesIO()
    write_mo(compiled, together)
    compiled.seek(0)
    return gettext.GNUTranslations(compiled)


_Parts = tuple[tuple[str, str | None, str], ...]


def _whole(parts: _Parts) -> str | _Parts:
    """A text without places as it is."""
    return "".join(part for part, _, _ in parts) if all(place is None for _, place, _ in parts) else parts


@lru_cache(maxsize=4096)
def _parts(template: str) -> _Parts:
    """Literal texts and places of a template: (text, None, "") or ("", name, what stands after the colon)."""
    found: list[tuple[str, str | None, str]] = []
    for literal, place, spec, _ in string.Formatter().parse(template):
        if literal:
            found.append((literal, None, ""))
        if place is not None:
            found.append(("", place, spec or ""))
    return tuple(found)
