import pytest

from cds.multipart import build_related, media_type, parse_related

TYPE = 'multipart/related; type="application/dicom"; boundary=XX'


def test_what_is_built_can_be_parsed() -> None:
    bodies = [b"", b"\r\n", b"--\r\n", b"one\r\n\r\ntwo\n", bytes(range(256)) * 10]
    joined, content_type = build_related(bodies, "application/dicom")
    parts = parse_related(joined, content_type)
    assert [p.body for p in parts] == bodies
    assert {p.headers["content-type"] for p in parts} == {"application/dicom"}
    assert media_type(content_type)[1]["type"] == "application/dicom"


@pytest.mark.parametrize(
    "body",
    [
        b"--XX\r\nContent-Type: application/dicom\r\n\r\nDATA\r\n--XX--\r\n",
        b"\r\n--XX\r\nContent-Type: application/dicom\r\n\r\nDATA\r\n--XX--",
        b"preamble\r\n--XX\r\nContent-Type: application/dicom\r\n\r\nDATA\r\n--XX--\r\nepilogue",
        b"--XX\nContent-Type: application/dicom\n\nDATA\n--XX--\n",
        b"--XX  \r\ncontent-type:application/dicom\r\nContent-Length: 4\r\n\r\nDATA\r\n--XX--",
    ],
)
def test_the_ways_servers_write_it(body: bytes) -> None:
    (part,) = parse_related(body, TYPE)
    assert part.body == b"DATA"
    assert part.headers["content-type"] == "application/dicom"


def test_a_boundary_inside_the_data_is_no_delimiter() -> None:
    data = b"a --XX b\r\n--XXYY\r\n"
    (part,) = parse_related(b"--XX\r\n\r\n" + data + b"\r\n--XX--", TYPE)
    assert part.body == data


def test_no_parts() -> None:
    assert parse_related(b"--XX--", TYPE) == []


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"--XX\r\n\r\nDATA", TYPE),
        (b"--XX\r\n\r\nDATA\r\n--XX", TYPE),
        (b"--XX\r\nContent-Type: a/b", TYPE),
        (b"", TYPE),
        (b"<html></html>", TYPE),
        (b"--XX\r\n\r\nDATA\r\n--XX--", "multipart/related"),
    ],
)
def test_an_incomplete_body_is_an_error(body: bytes, content_type: str) -> None:
    with pytest.raises(ValueError, match=r"delimiter|boundary"):
        parse_related(body, content_type)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('Multipart/Related; Type="application/dicom"; Boundary="a b;c"', ("multipart/related", "a b;c")),
        ("multipart/related;boundary=abc", ("multipart/related", "abc")),
        ("application/dicom", ("application/dicom", None)),
        ("", ("", None)),
    ],
)
def test_media_type(text: str, expected: tuple[str, str | None]) -> None:
    kind, parameters = media_type(text)
    assert (kind, parameters.get("boundary")) == expected
