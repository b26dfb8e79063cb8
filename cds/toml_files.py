"""Reading the TOML files that operators write."""

import tomllib
from pathlib import Path
from typing import Any


def read_toml(path: Path) -> dict[str, Any]:
    """The file's content. Raises ValueError with what is wrong, in words to follow the file's name: that it cannot be
    read, or is not TOML, and where."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror or type(error).__name__}") from None
    except ValueError as error:  # TOMLDecodeError names line and column; UnicodeDecodeError the byte
        raise ValueError(f"is not TOML: {error}") from None
