"""What an error says to people on a page, and in the answers that scripts of our pages show them."""

from collections.abc import Mapping

from flask import Response, render_template

from cds.language import LANGUAGES, Message, Text, message
from hooks.languages import page_words

#: Said instead of what is written for operators, in English, to readers of other languages.
_STATUS: Mapping[int, Message] = {
    400: message("This request cannot be understood."),
    401: message("Sign in to see this page."),
    403: message("This is not allowed."),
    404: message("There is nothing at this address."),
    429: message("Too many requests: please wait a moment."),
    503: message("This cannot be reached now: please try again later."),
}
_ELSE = message("This did not work.")


def error_page(status: int, said: Text) -> Response:
    heading, detail = _in_words(status, said)
    page = render_template("error.html", status=status, said=heading, detail=detail)
    return Response(page, status, mimetype="text/html")


def error_text(status: int, said: Text) -> str:
    heading, detail = _in_words(status, said)
    return f"{heading} ({detail})" if detail else heading


def _in_words(status: int, said: Text) -> tuple[str, str | None]:
    """In the reader's language, and what is said in English alone, where something is and it is another language."""
    words = page_words()
    if isinstance(said, Message):
        return words.text(said), None
    if words.language == LANGUAGES[0]:
        return said, None
    return words.text(_STATUS.get(status, _ELSE)), said
