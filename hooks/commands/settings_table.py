"""The table of `docs/settings.md`, made from `cds.settings`; `python -m hooks.commands.settings_table` prints it."""

from dataclasses import Field, fields
from typing import Any

from cds.settings import PREFIX, Settings


def settings_table() -> str:
    """Markdown: variable, default, meaning; in the order of `Settings`."""
    rows = ["| variable | default | meaning |", "|---|---|---|"]
    rows += [
        f"| `{PREFIX}{f.name.upper()}` | {_default(f)} | {f.metadata['help']} |" for f in fields(Settings)
    ]
    return "\n".join(rows) + "\n"


def _default(field: "Field[Any]") -> str:
    default = field.default
    text = ",".join(default) if isinstance(default, tuple) else str(default).replace("False", "false")
    return f"`{text}`" if text else "empty"


if __name__ == "__main__":
    print(settings_table(), end="")
