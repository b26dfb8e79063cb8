"""Texts for the scripts of a page, in its language: they go with it as data, with places and plural forms open."""

import string
from collections.abc import Mapping

from babel.core import Locale

from cds.language import Message, Words

#: Counts among which each plural form is looked for.
_COUNTS = range(101)


class _Open(int):
    """Stands for a value that the script knows: shown as the place itself, and as a number it chooses the form."""

    def __new__(cls, name: str, count: int = 0) -> "_Open":
        return super().__new__(cls, count)

    def __init__(self, name: str, count: int = 0) -> None:
        self._name = name

    def __str__(self) -> str:
        return f"{{{self._name}}}"


def for_scripts(texts: Mapping[str, Message], words: Words) -> dict[str, str | dict[str, str]]:
    """By the same names: a text with its places, or one for each plural category (CLDR, as `Intl.PluralRules` names
    them)."""
    return {name: _forms(text, words) if text.plural else _open(text, words) for name, text in texts.items()}


def _forms(text: Message, words: Words) -> dict[str, str]:
    category = Locale.parse(words.language).plural_form
    found: dict[str, str] = {}
    for count in _COUNTS:
        if (name := category(count)) not in found:
            found[name] = _open(text, words, count)
    return found


def _open(text: Message, words: Words, count: int = 0) -> str:
    places = {name for _, name, _, _ in string.Formatter().parse(text.english + (text.plural or "")) if name}
    values = {place: _Open(place, count) for place in {*places, "count"}}
    return words.text(Message(text.english, values, plural=text.plural, context=text.context))
