"""A training run under way: its networks and counters, how the running average follows, and what a checkpoint keeps."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

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


def save_checkpoint(run: Run, config: Mapping[str, Any], path: Path) -> None:
    """Weights, optimiser and counters; written beside and renamed, so that a killed run leaves the last one whole."""
    state = {
        "network": run.network.state_dict(),
        "average": run.average.state_dict(),
        "optimiser": run.optimiser.state_dict(),
        "counters": {"epoch": run.epoch, "steps": run.steps, "seconds": run.seconds},
        "history": run.history,
        "config": dict(config),
    }
    partial = path.with_suffix(".partial")
    torch.save(state, partial)
    partial.replace(path)


def restore(run: Run, state: dict[str, Any]) -> None:
    """Take up a run where a checkpoint left it."""
    run.network.load_state_dict(state["network"])
    run.average.load_state_dict(state["average"])
    run.optimiser.load_state_dict(state["optimiser"])
    run.epoch, run.steps = int(state["counters"]["epoch"]), int(state["counters"]["steps"])
    run.seconds, run.history = float(state["counters"]["seconds"]), list(state["history"])
