"""hooks/script_texts.py: texts for scripts, with their places open and a form for each count."""

from cds.language import counted, message, words
from hooks.script_texts import for_scripts

TEXTS = {
    "selected": counted("{count} cell selected", "{count} cells selected", 0),
    "others": message("{name} changed this review: {what}"),
    "unknown": counted("{count} <thing> of {all}", "{count} <things> of {all}", 0),
}


def test_places_stay_open_and_each_plural_category_has_its_form() -> None:
    assert for_scripts(TEXTS, words("de")) == {
        "selected": {"one": "{count} Zelle ausgewählt", "other": "{count} Zellen ausgewählt"},
        "others": "Geändert von {name}: {what}",
        "unknown": {"one": "{count} <thing> of {all}", "other": "{count} <things> of {all}"},
    }
    english = for_scripts(TEXTS, words("en"))
    assert english["selected"] == {"one": "{count} cell selected", "other": "{count} cells selected"}
