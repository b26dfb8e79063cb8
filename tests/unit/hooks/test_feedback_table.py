from dataclasses import replace
from datetime import UTC, datetime

import pytest

from cds.errors import BadRequest
from cds.feedback import FeedbackLine, FeedbackSummary
from hooks.feedback_table import parse_since, table, to_json, unknown

LINE = FeedbackLine(
    topic="smear-result",
    pattern="AML",
    model_name="cells",
    model_version="1.2.3",
    cards=5,
    showings=9,
    accepted=1,
    overridden=3,
    reasons={"": 1, "other": 1, "already-known": 2},
)


def summary(*lines, cards=0, suggestions=0, since=None):
    return FeedbackSummary(since=since, lines=lines, unknown_cards=cards, unknown_suggestions=suggestions)


def test_a_line_is_told_in_words_the_most_frequent_reason_first():
    (row,) = table(summary(LINE))
    assert (str(row.card), row.model, row.cards, row.shown) == ("AML pattern", "cells 1.2.3", 5, 9)
    assert tuple(map(str, row.reasons)) == (
        "Diagnosis is already known: 2",
        "No reason given: 1",
        "A reason of the EHR's own: 1",
    )


@pytest.mark.parametrize(
    ("topic", "name"), [("smear-not-analysed", "Not analysed"), ("smear-new", "smear-new")]
)
def test_cards_without_a_pattern_are_told_by_their_topic(topic, name):
    line = FeedbackLine(
        topic=topic, pattern=None, model_name="c", model_version="1", cards=1, showings=1, accepted=0, overridden=0,
        reasons={},
    )  # fmt: skip
    assert str(table(summary(line))[0].card) == name


def test_a_reason_that_is_no_longer_offered_keeps_its_code():
    (row,) = table(summary(replace(LINE, reasons={"smear-reviewed": 1})))
    assert tuple(map(str, row.reasons)) == ("smear-reviewed: 1",)


def test_feedback_that_belongs_to_no_card_is_told_where_there_is_any():
    assert unknown(summary(LINE)) is None
    assert "not sent from here: 2" in str(unknown(summary(cards=2)))
    assert "does not have: 3" in str(unknown(summary(suggestions=3)))


def test_json_holds_codes():
    since = datetime(2026, 3, 4, tzinfo=UTC)
    told = to_json(summary(LINE, cards=2, since=since))
    assert told["since"] == "2026-03-04T00:00:00+00:00"
    assert told["lines"][0]["overridden_by_reason"] == {"": 1, "other": 1, "already-known": 2}
    assert told["unknown_cards"] == 2
    assert to_json(summary())["since"] is None


def test_since_is_a_date_in_utc_or_a_moment_with_its_zone():
    assert parse_since("2026-03-04") == datetime(2026, 3, 4, tzinfo=UTC)
    assert parse_since("2026-03-04T02:00:00+02:00") == datetime(2026, 3, 4, tzinfo=UTC)
    for text in ("", "soon", "2026-13-01", "0001-01-01T00:00:00+05:00"):
        with pytest.raises(BadRequest):
            parse_since(text)
