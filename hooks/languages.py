"""The language of a page: the one that its reader chose; else that of the browser, if it is one of ours; else that of
the settings.

Templates say their own texts by `_`, `_in` and `_n`, and any `Message` that they show is said by itself. A reader
chooses by a link to the same page with `?language=de`, which is kept in a cookie.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from babel.core import Locale, negotiate_locale
from flask import Flask, Response, current_app, g, request
from jinja2 import pass_context
from jinja2.runtime import Context

from cds.language import LANGUAGES, Message, Text, Words, counted, message, message_in, words
from hooks.headers import is_api

#: Of the address; taken out of it once the choice is kept.
PARAMETER = "language"
LANGUAGE_COOKIE = "leukocds-language"
#: A choice is kept for a year.
LANGUAGE_S = 365 * 24 * 3600
_EXTENSION = "leukocds.language"
#: As in `95-%-Intervall`, with hyphens that do not break.
_PERCENT = "\N{NON-BREAKING HYPHEN}%\N{NON-BREAKING HYPHEN}"


@dataclass(frozen=True, slots=True)
class LanguageLink:
    """To the page in another language. name: as its readers call it."""

    code: str
    name: str
    address: str


def page_languages(app: Flask, default: str, keep: Callable[[Response, str], None]) -> None:
    """Let the app's pages speak. To be called after what guards them: a language is chosen only by who may ask.

    default: one of LANGUAGES, for browsers that ask for none of them. keep: sets the cookie LANGUAGE_COOKIE.
    """
    app.extensions[_EXTENSION] = default

    @pass_context
    def said(_context: Context, value: Any) -> Any:
        return page_words().text(value) if isinstance(value, Message) else value

    app.jinja_env.finalize = said
    app.jinja_env.filters["unbroken"] = unbroken
    app.jinja_env.globals.update(
        _=lambda english, **values: page_words().text(message(english, **values)),
        _in=lambda context, english, **values: page_words().text(message_in(context, english, **values)),
        _n=lambda one, many, count, **values: page_words().text(counted(one, many, count, **values)),
        language=lambda: page_words().language,
        language_links=language_links,
        decimal=lambda number, digits: page_words().decimal(number, digits),
    )

    @app.before_request
    def choose() -> Response | None:
        wanted = request.args.get(PARAMETER)
        if wanted not in LANGUAGES or not _is_shown_again():
            return None
        # The path is one of our routes; quoted, it cannot be read as another host's.
        response = Response(status=303, headers={"Location": _address(quote(request.path), None)})
        keep(response, wanted)
        return response

    @app.after_request
    def tell(response: Response) -> Response:
        if response.mimetype == "text/html":
            response.content_language.add(page_words().language)
            response.vary.update(("Accept-Language", "Cookie"))
        return response


def page_words() -> Words:
    """The words of the page that is being made."""
    if "words" not in g:
        g.words = words(_language())
    chosen: Words = g.words
    return chosen


def language_links(*, same_page: bool = True) -> list[LanguageLink]:
    """To the page in each other language; not same_page: to the front page."""
    path = quote(request.path) if same_page and _is_shown_again() else "/"
    return [
        LanguageLink(code, Locale.parse(code).get_display_name(code) or code, _address(path, code))
        for code in LANGUAGES
        if code != page_words().language
    ]


def unbroken(said: Text) -> str:
    """Without a line's end before a percent sign or around it, for headings that are large on a phone."""
    return page_words().text(said).replace(" %", "\N{NO-BREAK SPACE}%").replace("-%-", _PERCENT)


def _language() -> str:
    chosen = request.cookies.get(LANGUAGE_COOKIE)
    if chosen in LANGUAGES:
        return chosen
    default: str = current_app.extensions[_EXTENSION]
    wanted = [tag for tag, quality in request.accept_languages if quality > 0]
    return negotiate_locale(wanted, LANGUAGES, sep="-") or default


def _is_shown_again() -> bool:
    """Whether asking for this address once more shows this page."""
    return request.method in ("GET", "HEAD") and request.endpoint is not None and not is_api()


def _address(path: str, language: str | None) -> str:
    asked = [(name, value) for name, value in request.args.items(multi=True) if name != PARAMETER]
    if path == "/":
        asked = []
    if language is not None:
        asked.append((PARAMETER, language))
    return f"{path}?{urlencode(asked)}" if asked else path
