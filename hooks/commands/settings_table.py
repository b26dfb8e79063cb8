"""The table of `docs/settings.md`, made from `cds.settings`; run as a module with the path of that page."""

import re
import sys
from dataclasses import Field, fields
from pathlib import Path
from typing import Any

from cds.settings import PREFIX, Settings


def settings_table() -> str:
    """Markdown: variable, default, meaning; in the order of `Settings`."""
    rows = ["| variable | default | meaning |", "|---|---|---|"]
    rows += [
        f"| `{PREFIX}{f.name.upper()}` | {_default(f)} | {f.metadata['help']} |" for f in fields(Settings)
    ]
    return "\n".join(rows) + "\n"


def rewritten(page: str) -> str:
    """The page with its first table made anew."""
    return re.sub(r"(^\|.*\n)+", lambda _: settings_table(), page, count=1, flags=re.MULTILINE)


def _default(field: "Field[Any]") -> str:
    default = field.default
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    text = ",".join(default) if isinstance(default, tuple) else str(default)
    return f"`{text}`" if text else "empty"


if __name__ == "__main__":
    page = Path(sys.argv[1])
    page.write_text(rewritten(page.read_text()))
