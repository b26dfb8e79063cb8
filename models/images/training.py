"""Training of a network on whole images: AdamW in one cycle, a checkpoint after each epoch to take up again."""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from models.checkpoints import differing, read_state, write_state
from models.errors import TrainingStopped
from models.images.augmentation import Ranges, augmented
from models.images.networks import build_image_network
from models.networks import CellClassifier, autocast
from models.training import rate
from models.white_balance import neutral

Squares = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]
Entry = dict[str, float]

#: What of a configuration may change when a run is taken up: its length, and where it is computed.
_FREE = {"epochs", "minutes", "device"}


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkConfig:
    """Everything that decides a run besides the images."""

    model: str
    labels: tuple[str, ...]
    size_px: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    white_balance: bool
    pretrained: bool = False
    epochs: int = 30
    #: Length by the clock instead of by epochs; the learning rate follows it.
    minutes: float | None = None
    batch: int = 32
    peak_rate: float = 1e-3
    weight_decay: float = 0.05
    label_smoothing: float = 0.05
    #: Matrix products in bfloat16 where the device has it; the weights stay float32.
    bfloat16: bool = True
    seed: int = 7
    device: str = "cpu"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Lesson:
    """Pictures to learn from: squares uint8 RGB ``(n, s, s, 3)``, labels ``(n,)``.

    repeats: how often an epoch shows each; augment: whether as a new augmented view each time, or as it stands.
    """

    squares: Squares
    truth: Ints
    repeats: int
    augment: bool
    #: Names the pictures and their split, so that a checkpoint is taken up with the same ones only.
    fingerprint: str


@dataclass(slots=True)
class _Run:
    network: CellClassifier
    optimiser: torch.optim.Optimizer
    epoch: int = 0
    seconds: float = 0.0

    def progress(self, config: NetworkConfig, within: float = 0.0) -> float:
        if config.minutes is not None:
            return min(1.0, self.seconds / (60 * config.minutes))
        return min(1.0, (self.epoch + within) / config.epochs)


def train_network(
    lesson: Lesson,
    watched: tuple[Squares, Ints],
    config: NetworkConfig,
    checkpoint: Path,
    *,
    resume: bool = False,
    on_epoch: Callable[[Entry], None] = lambda entry: None,
) -> tuple[CellClassifier, list[Entry]]:
    """The trained network, on the CPU, and the history: loss and accuracy of each epoch, in training and validation.

    watched: validation pictures and labels, looked at and never learnt from; may be empty. Raises TrainingStopped when
    the device or the ImageNet weights cannot be had, the checkpoint is another run's, the loss is no number any more,
    or the disk is full.
    """
    run = _start(config)
    history: list[Entry] = []
    if resume and checkpoint.is_file():
        history = _take_up(run, read_state(checkpoint), config, lesson)
    while run.progress(config) < 1:
        # Reproducible wherever the run was interrupted.
        rng = np.random.default_rng((config.seed, run.epoch))
        torch.manual_seed(config.seed + run.epoch)
        began, before = time.monotonic(), run.seconds
        entry = _epoch(run, lesson, config, rng)
        run.epoch += 1
        entry |= _look(run.network, *watched, config)
        run.seconds = before + time.monotonic() - began
        history.append({"epoch": run.epoch, **entry, "seconds": round(run.seconds - before, 2)})
        on_epoch(history[-1])
        _save(run, history, config, lesson, checkpoint)
    return run.network.to("cpu").eval(), history


def _start(config: NetworkConfig) -> _Run:
    torch.manual_seed(config.seed)
    try:
        network = build_image_network(config.model, len(config.labels), pretrained=config.pretrained)
    except (URLError, OSError) as error:
        raise TrainingStopped(f"torchvision's ImageNet weights cannot be fetched: {error}") from error
    except ValueError as error:
        raise TrainingStopped(str(error)) from error
    try:
        network = network.to(config.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    except (RuntimeError, AssertionError) as error:
        raise TrainingStopped(f"the device {config.device!r} cannot be used: {error}") from error
    decayed = [p for p in network.parameters() if p.ndim > 1]
    plain = [p for p in network.parameters() if p.ndim <= 1]
    groups = [
        {"params": decayed, "weight_decay": config.weight_decay},
        {"params": plain, "weight_decay": 0.0},
    ]
    return _Run(network=network, optimiser=torch.optim.AdamW(groups, lr=config.peak_rate))


def _epoch(run: _Run, lesson: Lesson, config: NetworkConfig, rng: np.random.Generator) -> Entry:
    # A rare class weighs as much in all as a common one.
    counts = np.bincount(lesson.truth, minlength=len(config.labels))
    weight = torch.tensor(len(lesson.truth) / (len(counts) * np.maximum(counts, 1)), dtype=torch.float32)
    criterion = nn.CrossEntropyLoss(weight.to(config.device), label_smoothing=config.label_smoothing)
    run.network.train()
    total, right, seen = 0.0, 0, 0
    started, before = time.monotonic(), run.seconds
    for squares, truth, within in _batches(lesson, config, rng):
        for group in run.optimiser.param_groups:
            group["lr"] = rate(run.progress(config, within), config.peak_rate)
        target = torch.from_numpy(truth).to(config.device)
        with autocast(config.device, bfloat16=config.bfloat16):
            logits, _ = run.network(_tensor(squares, config))
        loss = criterion(logits.float(), target)
        run.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(run.network.parameters(), 5.0)
        run.optimiser.step()
        total += float(loss.detach()) * len(truth)
        right += int((logits.argmax(1) == target).sum())
        seen += len(truth)
        run.seconds = before + time.monotonic() - started
        if config.minutes is not None and run.progress(config) >= 1:
            break
    if not np.isfinite(total):
        raise TrainingStopped("the loss is no number any more: try another --seed or fewer --epochs")
    return {"loss": total / seen, "accuracy": right / seen}


def _batches(
    lesson: Lesson, config: NetworkConfig, rng: np.random.Generator
) -> Iterator[tuple[Squares, Ints, float]]:
    """Pictures, labels, and the share of the epoch that is past."""
    order = np.concatenate([rng.permutation(len(lesson.truth)) for _ in range(lesson.repeats)])
    # Normalisation within a batch needs two pictures or more: a last one alone is left out.
    for start in range(0, len(order), config.batch):
        chosen = order[start : start + config.batch]
        if len(chosen) < 2 and len(order) > 1:
            return
        squares = lesson.squares[chosen]
        if lesson.augment:
            squares = np.stack([augmented(square, rng, Ranges()) for square in squares])
        yield squares, lesson.truth[chosen], start / len(order)


def _look(network: CellClassifier, squares: Squares, truth: Ints, config: NetworkConfig) -> Entry:
    """Loss and accuracy in validation; nothing where there is none."""
    if not len(truth):
        return {}
    network.eval()
    answers = []
    with torch.inference_mode(), autocast(config.device, bfloat16=config.bfloat16):
        for start in range(0, len(truth), config.batch):
            answers.append(network(_tensor(squares[start : start + config.batch], config))[0].float().cpu())
    logits, target = torch.cat(answers), torch.from_numpy(truth)
    return {
        "validation_loss": float(nn.functional.cross_entropy(logits, target)),
        "validation_accuracy": float((logits.argmax(1) == target).float().mean()),
    }


def _tensor(squares: Squares, config: NetworkConfig) -> torch.Tensor:
    """uint8 RGB ``(n, s, s, 3)`` to normalised float32 ``(n, 3, s, s)`` in channels-last memory."""
    balanced = neutral(squares) if config.white_balance else squares
    scaled = (balanced.astype(np.float32) / 255 - np.array(config.mean, np.float32)) / np.array(
        config.std, np.float32
    )
    return torch.from_numpy(scaled).permute(0, 3, 1, 2).to(config.device)


def _save(run: _Run, history: list[Entry], config: NetworkConfig, lesson: Lesson, path: Path) -> None:
    state = {
        "network": run.network.state_dict(),
        "optimiser": run.optimiser.state_dict(),
        "counters": {"epoch": run.epoch, "seconds": run.seconds},
        "history": history,
        "config": {k: v for k, v in asdict(config).items() if k not in _FREE},
        "fingerprint": lesson.fingerprint,
    }
    write_state(state, path)


def _take_up(run: _Run, state: Mapping[str, Any], config: NetworkConfig, lesson: Lesson) -> list[Entry]:
    stored = state.get("config")
    if not isinstance(stored, Mapping):
        raise TrainingStopped("the checkpoint is of another program: delete it to begin anew")
    if names := differing(stored, asdict(config), free=_FREE):
        raise TrainingStopped(
            f"the checkpoint is of a run with another {', '.join(names)}: delete it, or ask for the same again"
        )
    if state["fingerprint"] != lesson.fingerprint:
        raise TrainingStopped("the checkpoint is of other images or another split: delete it to begin anew")
    run.network.load_state_dict(state["network"])
    run.optimiser.load_state_dict(state["optimiser"])
    run.epoch, run.seconds = int(state["counters"]["epoch"]), float(state["counters"]["seconds"])
    return [dict(entry) for entry in state["history"]]
