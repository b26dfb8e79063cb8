import uuid

import pytest

from cds.identifiers import NAMESPACE, are_uids, derived_uuid, is_uid


@pytest.mark.parametrize("parts", [("a",), ("card", "key", "says"), ("Zoë", "白血病"), ("",)])
def test_a_derived_uuid_is_that_of_rfc_9562(parts):
    assert derived_uuid(*parts) == str(uuid.uuid5(NAMESPACE, "\n".join(parts)))


def test_a_lone_surrogate_stands_as_a_question_mark():
    assert derived_uuid("a\ud800b") == str(uuid.uuid5(NAMESPACE, "a?b"))


@pytest.mark.parametrize("text", ["1.2", "0.0", "1.2.840.10008." + "1" * 50, "2.25." + "9" * 39])
def test_uids(text):
    assert is_uid(text)
    assert are_uids([text, "1.2.3", text])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1",
        "1.",
        ".1",
        "01.2",
        "1.02",
        "1.2 ",
        "1.2\n",
        "1.2\n1.3",
        "1..2",
        "1.2.a",
        "1.٢",
        "1." + "2" * 63,
    ],
)
def test_what_is_no_uid_makes_the_whole_list_wrong(text):
    assert not is_uid(text)
    assert not are_uids(["1.2", text, "1.3"])
    assert not are_uids([text])


def test_no_uids_are_all_uids():
    assert are_uids([])
