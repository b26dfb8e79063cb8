"""The language of a page: that of the reader's browser, if it is one of ours; else that of the settings.

Templates say their own texts by `_`, `_in` and `_n`, and any `Message` that they show is said by itself.
"""

from typing import Any

from babel.core import negotiate_locale
from flask import Flask, g, has_request_context, request
from jinja2 import pass_context
from jinja2.runtime import Context

from cds.language import LANGUAGES, Message, Words, counted, message, message_in, words


def page_languages(app: Flask, default: str) -> None:
    """Let the app's templates speak. default: one of LANGUAGES, for browsers that ask for none of them."""

    @pass_context
    def said(_context: Context, value: Any) -> Any:
        return page_words(default).text(value) if isinstance(value, Message) else value

    app.jinja_env.finalize = said
    app.jinja_env.globals.update(
        _=lambda english, **values: page_words(default).text(message(english, **values)),
        _in=lambda context, english, **values: page_words(default).text(
            message_in(context, english, **values)
        ),
        _n=lambda one, many, count, **values: page_words(default).text(counted(one, many, count, **values)),
        language=lambda: page_words(default).language,
    )


def page_words(default: str) -> Words:
    """The words of the page that is being made. default: as for `page_languages`."""
    if not has_request_context():
        return words(default)
    if "words" not in g:
        wanted = [tag for tag, quality in request.accept_languages if quality > 0]
        g.words = words(negotiate_locale(wanted, LANGUAGES, sep="-") or default)
    chosen: Words = g.words
    return chosen
