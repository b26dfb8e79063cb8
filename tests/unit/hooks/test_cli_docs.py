"""What the documents say about settings and commands is what the program does."""

import re
from dataclasses import fields
from pathlib import Path

from cds.settings import PREFIX, Settings
from hooks.cli import cli
from hooks.commands.settings_table import settings_table

ROOT = Path(__file__).resolve().parents[3]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def test_the_settings_page_holds_the_table_as_it_is_now() -> None:
    page = (ROOT / "docs" / "settings.md").read_text()
    assert settings_table() in page, (
        "make it anew with `python -m hooks.commands.settings_table docs/settings.md`"
    )


def test_no_document_names_a_setting_that_does_not_exist() -> None:
    known = {PREFIX + field.name.upper() for field in fields(Settings)}
    for document in DOCUMENTS:
        named = set(re.findall(rf"{PREFIX}[A-Z_]+[A-Z]", document.read_text()))
        assert {
            n
            for n in named
            if not n.startswith((PREFIX + "TEST", PREFIX + "SMEARS", PREFIX + "REQUIRE", PREFIX + "SERVERS"))
        } <= known, document


def test_defaults_in_the_readme_are_the_defaults() -> None:
    rows = re.findall(rf"\| `{PREFIX}(\w+)` \| (\S+) \|", (ROOT / "README.md").read_text())
    assert len(rows) > 5
    for name, shown in rows:
        value = getattr(Settings(), name.lower())
        default = ",".join(value) if isinstance(value, tuple) else str(value)
        assert shown.strip("`").replace("empty", "") == default, name


def test_the_readme_tells_of_every_command() -> None:
    readme = (ROOT / "README.md").read_text()
    for name in cli.commands:
        assert re.search(rf"^\| `{name}[ `]", readme, re.MULTILINE), name


def test_links_between_documents_lead_somewhere() -> None:
    for document in DOCUMENTS:
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", document.read_text()):
            if not target.startswith("http"):
                assert (document.parent / target).exists(), f"{document.name}: {target}"
