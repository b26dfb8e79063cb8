"""cds/language.py: messages, and the catalogues that say them."""

import gettext
import io

import pytest
from babel.messages.catalog import Catalog
from babel.messages.mofile import write_mo

from cds.errors import ConfigurationError
from cds.language import Words, counted, message, message_in, verbatim, words


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
