"""JSON from the bytes of a request, and to those of an answer (RFC 8259)."""

import json
from contextlib import suppress
from typing import Any, NoReturn

import msgspec

from cds.errors import BadRequest


def decode_json(body: bytes) -> Any:
    """JSON as RFC 8259 has it: UTF-8, no NaN, no Infinity, no nesting beyond what can be walked. Raises BadRequest."""
    with suppress(ValueError, RecursionError):
        return msgspec.json.decode(body)
    # Python's own understands more: half of a surrogate pair where somebody cut a text in two. From bytes it would
    # guess UTF-16 and UTF-32 too, in which the limits of `hooks.limits` see quotes where none are.
    try:
        return json.loads(body.decode("utf-8-sig"), parse_constant=_refuse_constant)
    except UnicodeDecodeError:
        raise BadRequest("The body is not in UTF-8, as JSON has to be.") from None
    except RecursionError:
        raise BadRequest("The body is nested too deeply.") from None
    except ValueError:
        raise BadRequest("The body is not JSON.") from None


def encode_json(value: Any) -> bytes:
    """UTF-8."""
    try:
        return msgspec.json.encode(value)
    except UnicodeEncodeError:  # half of a surrogate pair, which JSON can only escape
        return json.dumps(value).encode()


def _refuse_constant(_: str) -> NoReturn:
    raise ValueError
