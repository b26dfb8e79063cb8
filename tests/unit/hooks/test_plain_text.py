import pytest

from hooks.plain_text import plain_text
from hooks.wording import markdown


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("**One.**\n\nTwo\nthree", "One.\n\nTwo three"),
        ("Said:\n\n- a\n- b\n\nEnd", "Said:\n\n- a\n- b\n\nEnd"),
        ("| A | B |\n| --- | ---: |\n| x | 1 |\n| **y** | |", "A | B\nx | 1\ny"),
        ("# Head\n\n`code` and [a link](https://a.example)", "Head\n\ncode and a link"),
        ("```\nraw\n```", "raw"),
        ("", ""),
    ],
)
def test_marks_go_and_lines_stay(text, plain):
    assert plain_text(text) == plain


@pytest.mark.parametrize(
    "odd", ["a_b*c*", "1. x", "- y", "<b>&amp;", "www.example.org http://x [z](y)", "a|b"]
)
def test_what_was_made_safe_for_markdown_comes_back_as_it_was(odd):
    assert plain_text(markdown(odd)) == odd
