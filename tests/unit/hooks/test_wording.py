import pytest

from cds.values import Differential
from hooks.wording import between, markdown, plain, rows, share, shorten


def test_a_share_stands_with_its_interval():
    differential = Differential({"myeloblast": 31, "lymphocyte": 69})
    assert str(share(differential, "blasts")) == "31 % blasts (95 % CI 23–41 %)"
    assert str(share(Differential({}), "blasts")) == "0 % blasts (95 % CI 0–100 %)"


def test_rows_are_sorted_by_count():
    counted = rows(Differential({"basophil": 1, "cll_lymphocyte": 8, "novel_cell": 1}))
    assert [str(name) for name, *_ in counted] == ["CLL-like lymphocyte", "Basophil", "Novel cell"]
    assert counted[0][1:3] == (8, "80 %")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\nb\x00c\ud800\u202e", "a b c"),
        ("31 % (95 % CI 23–41 %)", "31 % (95 % CI 23–41 %)"),
        ("", ""),
    ],
)
def test_plain_text_is_one_printable_line(text, shown):
    assert plain(text) == shown


def test_a_long_text_is_cut_with_an_ellipsis():
    assert shorten("x" * 300, 139) == "x" * 138 + "…"
    assert shorten("short", 139) == "short"


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("<b>&amp;", "&lt;b&gt;&amp;amp;"),
        ("a|b", r"a\|b"),
        ("*_`[]#~", r"\*\_\`\[\]\#\~"),
        ("1. one", r"1\. one"),
        ("- item", r"\- item"),
        ("1.2.840.10008", "1.2.840.10008"),
        ("https://x.example", r"https\://x.example"),
        ("a@b.example", r"a\@b.example"),
    ],
)
def test_markdown_shows_text_as_it_is(text, escaped):
    assert markdown(text) == escaped


def test_an_interval_is_in_whole_percent():
    assert between(0.234, 0.411) == "23–41 %"
