"""cds/language.py: messages, and the catalogues that say them."""

import gettext
import io

import pytest
from babel.messages.catalog import Catalog
from babel.messages.mofile import write_mo

from cds.errors import ConfigurationError
from cds.language import Words, counted, joined, message, message_in, said_by, verbatim, words


def german() -> Words:
    catalogue = Catalog(locale="de")
    catalogue.add("{share:percent} of {cells} are blasts.", "Von {cells} sind {share:percent} Blasten.")
    catalogue.add(("1 cell", "{count} cells"), ("1 Zelle", "{count} Zellen"))
    catalogue.add("Order", "Reihenfolge", context="of cells")
    catalogue.add("Order", "Anforderung", context="of a test")
    catalogue.add("{size:decimal1} µm", "{size:decimal1} µm")
    compiled = io.BytesIO()
    write_mo(compiled, catalogue)
    compiled.seek(0)
    return Words("de", gettext.GNUTranslations(compiled))


def test_a_message_is_said_in_the_language_of_the_one_who_reads() -> None:
    said = message(
        "{share:percent} of {cells} are blasts.", share=0.314, cells=counted("1 cell", "{count} cells", 51)
    )
    assert words("en").text(said) == str(said) == "31 % of 51 cells are blasts."
    assert german().text(said) == "Von 51 Zellen sind 31 % Blasten."


@pytest.mark.parametrize(("count", "text"), [(0, "0 Zellen"), (1, "1 Zelle"), (2, "2 Zellen")])
def test_one_is_said_otherwise_than_many(count: int, text: str) -> None:
    assert german().text(counted("1 cell", "{count} cells", count)) == text


def test_a_context_tells_like_words_apart() -> None:
    assert german().text(message_in("of cells", "Order")) == "Reihenfolge"
    assert german().text(message_in("of a test", "Order")) == "Anforderung"
    assert str(message_in("of a test", "Order")) == "Order"


def test_numbers_have_the_languages_decimal_sign() -> None:
    said = message("{size:decimal1} µm", size=12.34)
    assert (str(said), german().text(said)) == ("12.3 µm", "12,3 µm")


@pytest.mark.parametrize(
    ("fraction", "english", "said"),
    [
        (0, "0 %", "0 %"),
        (0.0123, "1.2 %", "1,2 %"),
        (0.05, "5 %", "5 %"),
        (0.0996, "10 %", "10 %"),
        (0.31, "31 %", "31 %"),
    ],
)
def test_a_small_share_has_a_digit_after_the_point(fraction: float, english: str, said: str) -> None:
    text = message("{share:percent1}", share=fraction)
    assert (str(text), german().text(text)) == (english, said)
    assert german().text(message("{share:points1}", share=fraction)) == said.removesuffix(" %")


def test_whole_points_are_percent_without_the_sign() -> None:
    assert str(message("{low:points}–{high:points} %", low=0.226, high=0.411)) == "23–41 %"


def test_a_way_to_write_a_value_that_nobody_knows_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="'percnt' is no way to write a value"):
        str(message("{share:percnt}", share=0.5))


def test_joined_texts_are_each_said_in_the_language() -> None:
    both = joined([counted("1 cell", "{count} cells", 2), "HTTP {503}"], "; ")
    assert german().text(both) == "2 Zellen; HTTP {503}"
    assert str(joined([], " ")) == ""


def test_what_an_error_says_is_a_message_where_it_was_raised_with_one() -> None:
    said = counted("1 cell", "{count} cells", 2)
    assert said_by(ValueError(said)) is said
    assert said_by(ValueError("plain")) == "plain"
    assert said_by(ValueError()) == ""
    assert str(ValueError(said)) == "2 cells"


@pytest.mark.parametrize(
    ("fraction", "text"),
    [(0, "0 %"), (0.001, "< 1 %"), (0.006, "1 %"), (0.5, "50 %"), (0.996, "> 99 %"), (1, "100 %")],
)
def test_a_share_never_reads_none_or_all_unless_it_is(fraction: float, text: str) -> None:
    assert words("en").percent(fraction) == text


def test_text_from_outside_is_the_same_everywhere_even_with_braces() -> None:
    for text in ("HTTP 503 {detail}", "", "100 %"):
        assert german().text(text) == text
        assert german().text(verbatim(text)) == text
        assert str(verbatim(text)) == text


def test_what_no_catalogue_says_is_said_in_english() -> None:
    assert german().text(message("Nobody said this.")) == "Nobody said this."


def test_another_language_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="'fr' is no language of ours: one of en, de"):
        words("fr")


def test_messages_of_the_same_words_are_equal_and_can_be_counted() -> None:
    one, other = message("{a} b", a=1), message("{a} b", a=1)
    assert one == other
    assert hash(one) == hash(other)
    assert one != message("{a} b", a=2)
