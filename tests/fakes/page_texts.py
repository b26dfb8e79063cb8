"""What a page says to its reader, piece by piece; and what of it no catalogue knows."""

import json
import re
from collections.abc import Iterable, Iterator
from html.parser import HTMLParser

import pytest

from cds.language import Message, Text, Words

#: Attributes that are read to people or shown.
_SAID = ("alt", "aria-label", "data-label", "placeholder", "title")
#: Elements without an end.
_VOID = ("br", "img", "input", "link", "meta")
_OPEN, _SHUT = "⟦", "⟧"
#: Of a text that a page takes apart, a mark without its other.
_PART = re.compile(f"^[^{_OPEN}]*{_SHUT}|{_OPEN}[^{_SHUT}]*$")
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_INNERMOST = re.compile(f"{_OPEN}[^{_OPEN}{_SHUT}]*{_SHUT}")


class _Texts(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        #: Elements that are open and say nothing to people, or what is English on purpose.
        self._silent: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if (
            self._silent
            or tag in ("style", "script", "code")
            or (tag != "html" and given.get("lang") == "en")
        ):
            if tag not in _VOID:
                self._silent.append(tag)
            return
        self.found += [given[name] or "" for name in _SAID if name in given]
        if texts := given.get("data-texts"):
            for said in json.loads(texts).values():
                self.found += [said] if isinstance(said, str) else said.values()

    def handle_endtag(self, tag: str) -> None:
        if self._silent and self._silent[-1] == tag:
            self._silent.pop()

    def handle_data(self, data: str) -> None:
        if not self._silent and data.strip():
            # As it is in a catalogue, where a heading keeps words together.
            plain = data.replace("\N{NO-BREAK SPACE}", " ").replace("\N{NON-BREAKING HYPHEN}", "-")
            self.found.append(plain.strip())


def texts_of(page: str) -> list[str]:
    parser = _Texts()
    parser.feed(page)
    return parser.found


def mark_texts(patch: pytest.MonkeyPatch) -> None:
    """From now on every text of a catalogue is said between ⟦ and ⟧."""
    plain = Words.text

    def marked(self: Words, said: Text) -> str:
        return f"{_OPEN}{plain(self, said)}{_SHUT}" if isinstance(said, Message) else said

    patch.setattr(Words, "text", marked)


def unmarked(page: str, known: Iterable[str]) -> Iterator[str]:
    """Pieces of a page made after `mark_texts` that have words outside of the marks. known: names and values from
    elsewhere, which may stand there."""
    for text in texts_of(page):
        left = text
        while (fewer := _INNERMOST.sub(" ", left)) != left:
            left = fewer
        left = _PART.sub(" ", left)
        left = _UUID.sub(" ", left)
        for name in sorted(known, key=len, reverse=True):
            left = left.replace(name, " ")
        if re.search(r"[^\W\d_]{2}", left):
            yield text
