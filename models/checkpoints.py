"""Files from which a training goes on: written whole or not at all, read as data and never as code, compared."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch

from models.errors import TrainingStopped


def write_state(state: Mapping[str, Any], path: Path) -> None:
    """Written beside and renamed: a killed run, or a full disk, leaves the last checkpoint whole.

    Raises TrainingStopped when it cannot be written.
    """
    partial = path.with_suffix(".partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(dict(state), partial)
        partial.replace(path)
    except (OSError, RuntimeError) as error:  # torch's own writer says RuntimeError when the disk is full
        partial.unlink(missing_ok=True)
        raise TrainingStopped(f"the checkpoint {path} cannot be written: {error}") from error


def read_state(path: Path) -> dict[str, Any]:
    """What `write_state` wrote, on the CPU. Raises TrainingStopped when it is no checkpoint."""
    try:
        return dict(torch.load(path, map_location="cpu", weights_only=True))
    except Exception as error:  # torch raises whatever a damaged file leads it to
        raise TrainingStopped(f"{path} is no checkpoint: {error}; delete it to begin anew") from error


def differing(stored: Mapping[str, Any], wanted: Mapping[str, Any], *, free: Collection[str]) -> list[str]:
    """Names of what is `wanted` otherwise than `stored`; what is `free` may change when a run is taken up."""
    return sorted(k for k in wanted if k not in free and _plain(stored.get(k)) != _plain(wanted[k]))


def _plain(value: Any) -> Any:
    """Tuples as lists: a checkpoint may have made either of the other."""
    return [_plain(v) for v in value] if isinstance(value, tuple | list) else value
