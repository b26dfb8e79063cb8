"""A training run under way: its networks and counters, how the running average follows, and what a checkpoint keeps."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from models.checkpoints import differing, read_state, write_state
from models.errors import TrainingStopped
from models.networks import CellClassifier


@dataclass(slots=True)
class Run:
    """A run under way: what a checkpoint keeps."""

    network: CellClassifier
    average: CellClassifier
    optimiser: torch.optim.Optimizer
    epoch: int = 0
    steps: int = 0
    seconds: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)


def follow(run: Run, decay: float) -> None:
    """Move the running average towards the network; faster at first, when the network is still far."""
    decay = min(decay, (1 + run.steps) / (10 + run.steps))
    with torch.no_grad():
        for kept, new in zip(
            run.average.state_dict().values(), run.network.state_dict().values(), strict=True
        ):
            if kept.is_floating_point():
                kept.lerp_(new, 1 - decay)
            else:
                kept.copy_(new)


#: What of a configuration may change when a run is taken up: its length, and how and where it is computed.
_FREE = {
    "epochs", "minutes", "processes", "threads", "device", "bfloat16", "validate_every", "validation_cells",
}  # fmt: skip


def save_checkpoint(run: Run, config: Mapping[str, Any], path: Path, *, fingerprint: str = "") -> None:
    """Weights, optimiser and counters; written beside and renamed, so that a killed run leaves the last one whole.

    fingerprint: of the images, see `check_taken_up`. Raises TrainingStopped when it cannot be written.
    """
    state = {
        "network": run.network.state_dict(),
        "average": run.average.state_dict(),
        "optimiser": run.optimiser.state_dict(),
        "counters": {"epoch": run.epoch, "steps": run.steps, "seconds": run.seconds},
        "history": run.history,
        "config": dict(config),
        "fingerprint": fingerprint,
    }
    write_state(state, path)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """What `save_checkpoint` wrote, on the CPU. Raises TrainingStopped when it is no checkpoint of a cell network."""
    state = read_state(path)
    if not {"network", "average", "counters", "config", "history"} <= state.keys():
        raise TrainingStopped(f"{path} is no checkpoint of a cell network")
    return state


def check_taken_up(state: Mapping[str, Any], config: Mapping[str, Any], fingerprint: str) -> None:
    """Raises TrainingStopped when a checkpoint is of a run with other images or of another kind than `config`."""
    if names := differing(state["config"], config, free=_FREE):
        raise TrainingStopped(
            f"the checkpoint is of a run with another {', '.join(names)}: ask for the same, or begin elsewhere"
        )
    if state.get("fingerprint") and state["fingerprint"] != fingerprint:
        raise TrainingStopped("the checkpoint is of other images or another split: begin elsewhere")


def restore(run: Run, state: dict[str, Any]) -> None:
    """Take up a run where a checkpoint left it."""
    run.network.load_state_dict(state["network"])
    run.average.load_state_dict(state["average"])
    run.optimiser.load_state_dict(state["optimiser"])
    run.epoch, run.steps = int(state["counters"]["epoch"]), int(state["counters"]["steps"])
    run.seconds, run.history = float(state["counters"]["seconds"]), list(state["history"])
