"""multipart/related bodies as DICOMweb uses them (RFC 2387, RFC 2046 section 5.1, PS3.18 section 8.6.1.2)."""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from email.message import Message


@dataclass(frozen=True, slots=True)
class Part:
    """headers: names in lower case."""

    headers: Mapping[str, str]
    body: bytes


def media_type(content_type: str) -> tuple[str, dict[str, str]]:
    """Type and parameters of a Content-Type, both names in lower case: ``("multipart/related", {"boundary": …})``."""
    message = Message()
    message["Content-Type"] = content_type
    parameters = message.get_params(failobj=[], unquote=True)
    return parameters[0][0].strip().lower() if parameters else "", {
        name.lower(): value for name, value in parameters[1:]
    }


def parse_related(body: bytes, content_type: str) -> list[Part]:
    """The parts of a multipart body. Raises ValueError when it is malformed or its closing delimiter is missing."""
    boundary = media_type(content_type)[1].get("boundary", "")
    if not boundary:
        raise ValueError("no boundary in the Content-Type")
    delimiter = b"--" + boundary.encode("latin-1")
    parts: list[Part] = []
    position = _find_delimiter(body, delimiter, 0)
    while True:
        if position < 0:
            raise ValueError("the closing delimiter is missing")
        position += len(delimiter)
        if body[position : position + 2] == b"--":
            return parts
        start = body.find(b"\n", position) + 1
        following = _find_delimiter(body, delimiter, start) if start else -1
        if following < 0:
            raise ValueError("the closing delimiter is missing")
        parts.append(_part(body, start, _without_line_end(body, start, following)))
        position = following


def build_related(bodies: Sequence[bytes], part_type: str) -> tuple[bytes, str]:
    """The parts joined, and the Content-Type to send them with. `part_type` such as ``application/dicom``."""
    boundary = _unused_boundary(bodies)
    head = f"--{boundary}\r\nContent-Type: {part_type}\r\n\r\n".encode()
    pieces = [piece for body in bodies for piece in (head, body, b"\r\n")]
    joined = b"".join([*pieces, f"--{boundary}--\r\n".encode()])
    return joined, f'multipart/related; type="{part_type}"; boundary={boundary}'


def _unused_boundary(bodies: Sequence[bytes]) -> str:
    while True:
        boundary = secrets.token_hex(16)
        if not any(boundary.encode() in body for body in bodies):
            return boundary


def _find_delimiter(body: bytes, delimiter: bytes, start: int) -> int:
    """Where the delimiter next begins a line and is a line's only word; -1 where it does not."""
    while (found := body.find(delimiter, start)) >= 0:
        after = body[found + len(delimiter) : found + len(delimiter) + 2]
        if (found == 0 or body[found - 1 : found] == b"\n") and after[:1] in (
            b"",
            b"\r",
            b"\n",
            b"-",
            b" ",
            b"\t",
        ):
            return found
        start = found + 1
    return -1


def _without_line_end(body: bytes, start: int, end: int) -> int:
    """The line break before a delimiter belongs to the delimiter; some servers send it as a bare LF."""
    if end - 2 >= start and body[end - 2 : end] == b"\r\n":
        return end - 2
    return max(start, end - 1)


def _part(body: bytes, start: int, end: int) -> Part:
    headers: dict[str, str] = {}
    while start < end:
        line_end = body.find(b"\n", start, end)
        line_end = end if line_end < 0 else line_end
        line = body[start:line_end].strip()
        start = min(line_end + 1, end)
        if not line:
            return Part(headers, body[start:end])
        name, _, value = line.decode("latin-1").partition(":")
        headers[name.strip().lower()] = value.strip()
    return Part(headers, b"")
