import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cds.errors import BadRequest
from hooks.json_text import decode_json, encode_json

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=15,
)


@given(VALUES)
def test_it_reads_what_pythons_own_writes_and_the_other_way_round(value):
    assert decode_json(json.dumps(value).encode()) == value
    assert json.loads(encode_json(value)) == value


@pytest.mark.parametrize("text", ['{"a": "Grüße"}', '["\\ud800"]', "[1e400]", '{"a": 1, "a": 2}'])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_whatever_pythons_own_reads_is_read_alike(text, encoding):
    body = text.encode(encoding)
    assert decode_json(body) == json.loads(body)


@pytest.mark.parametrize("body", [b"", b"{", b"[1,]", b"NaN", b"[Infinity]", b'{"a":1}x'])
def test_what_is_no_json_is_a_bad_request(body):
    with pytest.raises(BadRequest, match="not JSON"):
        decode_json(body)


@pytest.mark.parametrize("body", [b'"\xff"', *('{"a": 1}'.encode(e) for e in ("utf-16", "utf-32"))])
def test_another_encoding_than_utf_8_is_a_bad_request(body):
    with pytest.raises(BadRequest, match="UTF-8"):
        decode_json(body)


def test_what_cannot_be_walked_is_a_bad_request():
    with pytest.raises(BadRequest, match="nested"):
        decode_json(b"[" * 100_000)


def test_half_of_a_surrogate_pair_leaves_as_it_came():
    assert json.loads(encode_json({"a": "x\ud800"})) == {"a": "x\ud800"}
