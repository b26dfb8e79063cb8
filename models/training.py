"""Training of the cell classifier, from a manifest to a checkpoint.

The length is given in epochs or in minutes: with minutes, learning rate and image size follow the clock, so that a
slow or shared machine ends in time with a finished schedule. Checkpoints are weights and numbers, never pickled code.
"""

import hashlib
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import click
import cv2
import numpy as np
import structlog
import torch
from torch import nn

from cds.errors import LeukoError
from models.augment import Augmentation, centre_crop
from models.corpus import (
    CellRecord,
    audit,
    label_matrix,
    load_crops,
    read_corpus,
    with_validation,
)
from models.distillation import Teacher, brought_to, distillation_loss, read_teacher
from models.errors import CorpusError, TrainingStopped
from models.labels import CELL_TYPES
from models.networks import MEAN, STD, CellClassifier, autocast, build_network, load_published
from models.parallel import Team
from models.sampling import Allowed, Crops, Pool, ahead, batches, drawn_pool, real_pool
from models.training_options import training_options
from models.training_run import Run, check_taken_up, follow, read_checkpoint, restore, save_checkpoint
from models.weak_labels import weak_cells
from models.white_balance import neutral

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingConfig:
    """Everything that decides a run besides the corpus."""

    architecture: str = "resnet34"
    pretrained: bool = False
    #: (share of the run at which it begins, side of the input in px), in order; the last is the package's input size.
    stages: tuple[tuple[float, int], ...] = ((0.0, 64), (0.35, 80), (0.7, 96))
    #: Side of the field that the input shows, in pixels of the stored crops.
    field_px: int = 128
    epochs: int = 24
    minutes: float | None = None
    epoch_cells: int = 6400
    batch: int = 96
    peak_rate: float = 1.5e-3
    weight_decay: float = 0.05
    label_smoothing: float = 0.05
    average_decay: float = 0.998
    drawn_share: float = 0.10
    drawn_per_type: int = 160
    without_cell: int = 1400
    validate_every: int = 3
    validation_cells: int = 1000
    #: Matrix products in bfloat16 where the device has it: about twice as fast, the weights stay float32.
    bfloat16: bool = True
    #: Sources that the run never sees.
    left_out: tuple[str, ...] = ()
    #: Checkpoint whose averaged weights the run begins with; empty: random ones (or ImageNet's, see `pretrained`).
    start_from: str = ""
    #: File of published ImageNet weights that the run begins with (see `models.networks.load_published`).
    weights: str = ""
    #: Checkpoint of a network whose answers the run learns from besides the labels (see `models.distillation`).
    teacher: str = ""
    #: How much of the loss the teacher's answers are.
    teacher_share: float = 0.5
    augmentation: Augmentation = field(default_factory=Augmentation)
    seed: int = 7
    #: Processes that share each batch, and threads of each.
    processes: int = 1
    threads: int = 2
    device: str = "cpu"

    @property
    def size_px(self) -> int:
        return self.stages[-1][1]


def train(
    records: Sequence[CellRecord],
    config: TrainingConfig,
    out: Path,
    *,
    weak: Sequence[tuple[Sequence[CellRecord], Crops]] = (),
    resume: bool = False,
) -> Run:
    """Train on the records of split "train", watch those of "validation"; writes ``out/checkpoint.pt`` each epoch.

    weak: further training cells with the crops that they are (see `models.weak_labels`). Never touches "test". Raises
    CorpusError when the splits leak, an image is not the one that the manifest lists, or a type has no image;
    TrainingStopped when a checkpoint cannot be written, or is of another run than the one to take up.
    """
    records = [r for r in records if r.source not in config.left_out]
    counts = audit([*records, *(r for cells, _ in weak for r in cells)])
    cv2.setNumThreads(1)  # its thread pool would not survive the fork, and crops are small
    out.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(config.seed)
    taught = [r for r in records if r.split == "train"]
    watched = _sample([r for r in records if r.split == "validation"], config.validation_cells, rng)
    crops = load_crops(taught, verify=True)
    for cells, pixels in weak:
        kept = [i for i, r in enumerate(cells) if r.split == "train" and r.source not in config.left_out]
        taught, crops = [*taught, *(cells[i] for i in kept)], np.concatenate([crops, pixels[kept]])
    if not taught:
        raise CorpusError("there is no cell to train on")
    real = real_pool(taught, crops, label_matrix(taught), without_cell=config.without_cell, rng=rng)
    watched_crops, watched_allowed = load_crops(watched), label_matrix(watched)
    drawn = drawn_pool(config.drawn_per_type, config.seed)
    log.info("corpus", **counts, pool=len(real.crops), drawn=len(drawn.crops))

    fingerprint = _fingerprint([*taught, *watched])
    taken_up = (
        read_checkpoint(out / "checkpoint.pt") if resume and (out / "checkpoint.pt").is_file() else None
    )
    if taken_up is not None:
        check_taken_up(taken_up, asdict(config), fingerprint)
    numbers = sum(p.numel() for p in build_network(config.architecture, len(CELL_TYPES)).parameters()) + 2
    team = Team(config.processes, numbers)
    teacher = read_teacher(Path(config.teacher), config.left_out, config.device) if config.teacher else None

    def work(rank: int) -> Run:
        torch.manual_seed(config.seed)  # every process starts from the same weights
        torch.set_num_threads(config.threads)
        run = start_run(config)
        if taken_up is not None:
            restore(run, taken_up)
            log.info("resumed", rank=rank, epoch=run.epoch, seconds=round(run.seconds))
        rng = np.random.default_rng((config.seed, run.steps, rank))
        while progress(run, config) < 1:
            size = stage_size(progress(run, config), config)
            began = time.monotonic()
            loss = _epoch(run, config, real, drawn, size, rng, team, rank, teacher)
            run.epoch += 1
            if rank == 0:
                entry = {
                    "epoch": run.epoch,
                    "size_px": size,
                    "loss": loss,
                    "seconds": time.monotonic() - began,
                }
                if len(watched) and (run.epoch % config.validate_every == 0 or progress(run, config) >= 1):
                    entry |= _validate(run.average, watched_crops, watched_allowed, config, size)
                run.history.append(entry)
                log.info(
                    "epoch",
                    progress=round(progress(run, config), 3),
                    **{k: round(v, 3) for k, v in entry.items()},
                )
                save_checkpoint(run, asdict(config), out / "checkpoint.pt", fingerprint=fingerprint)
        return run

    children = team.start(work)
    run = work(0)
    for child in children:
        child.join(60)
    return run


def start_run(config: TrainingConfig) -> Run:
    """A fresh network, its running average and its optimiser.

    Raises TrainingStopped when it is to begin with a checkpoint of another architecture, or of a run that has seen a
    source which this one leaves out; or with published weights that are not of its architecture.
    """
    network = build_network(config.architecture, len(CELL_TYPES), pretrained=config.pretrained)
    if config.weights:
        load_published(network, Path(config.weights))
    if config.start_from:
        state = read_checkpoint(Path(config.start_from))
        if (other := state["config"]["architecture"]) != config.architecture:
            raise TrainingStopped(f"{config.start_from} is of a {other}, not of a {config.architecture}")
        if seen := sorted(set(config.left_out) - set(state["config"]["left_out"])):
            raise TrainingStopped(f"{config.start_from} has seen {', '.join(seen)}, which are to be left out")
        network.load_state_dict(state["average"])
    network = network.to(config.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    average = build_network(config.architecture, len(CELL_TYPES))
    average = average.to(config.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    average.load_state_dict(network.state_dict())
    decayed = [p for p in network.parameters() if p.ndim > 1]
    plain = [p for p in network.parameters() if p.ndim <= 1]
    groups = [
        {"params": decayed, "weight_decay": config.weight_decay},
        {"params": plain, "weight_decay": 0.0},
    ]
    return Run(
        network=network, average=average.eval(), optimiser=torch.optim.AdamW(groups, lr=config.peak_rate)
    )


def progress(run: Run, config: TrainingConfig) -> float:
    """Share of the run that is done, 0 to 1: of its minutes where they are given, else of its steps."""
    if config.minutes is not None:
        return min(1.0, run.seconds / (60 * config.minutes))
    return min(1.0, run.steps / (config.epochs * steps_per_epoch(config)))


def steps_per_epoch(config: TrainingConfig) -> int:
    return max(1, config.epoch_cells // config.batch)


def stage_size(done: float, config: TrainingConfig) -> int:
    """Side of the input at a share of the run."""
    return [size for begin, size in config.stages if begin <= done][-1]


def rate(done: float, peak: float) -> float:
    """Learning rate of one cycle (Smith 2018): a linear rise over the first 12 %, then half a cosine to 0.4 % of it."""
    if done < 0.12:
        return peak * (0.04 + 0.96 * done / 0.12)
    return peak * (0.004 + 0.996 * 0.5 * (1 + float(np.cos(np.pi * (done - 0.12) / 0.88))))


def partial_loss(logits: torch.Tensor, allowed: torch.Tensor, smoothing: float) -> torch.Tensor:
    """Mean of -log of the probability that falls within the allowed types, with label smoothing.

    logits: float ``(n, labels)``; allowed: bool of the same shape. With one allowed type this is cross-entropy.
    """
    logs = torch.log_softmax(logits, dim=1)
    within = torch.logsumexp(logs.masked_fill(~allowed, float("-inf")), dim=1)
    return -((1 - smoothing) * within + smoothing * logs.mean(dim=1)).mean()


def to_tensor(views: Crops, device: str = "cpu") -> torch.Tensor:
    """uint8 RGB ``(n, s, s, 3)`` to the network's normalised float32 ``(n, 3, s, s)`` in channels-last memory."""
    scaled = (views.astype(np.float32) / 255 - np.array(MEAN, np.float32)) / np.array(STD, np.float32)
    return torch.from_numpy(scaled).permute(0, 3, 1, 2).to(device)


def infer(
    network: CellClassifier,
    crops: Crops,
    config: TrainingConfig,
    *,
    size_px: int | None = None,
    batch: int = 64,
) -> tuple[np.ndarray[Any, np.dtype[np.float32]], np.ndarray[Any, np.dtype[np.float32]]]:
    """Logits ``(n, labels)`` and embeddings ``(n, features)`` of stored crops (n, 160, 160, 3), unaugmented."""
    network.eval()
    size_px = size_px or config.size_px
    outputs = []
    with torch.inference_mode(), autocast(config.device, bfloat16=config.bfloat16):
        for i in range(0, len(crops), batch):
            views = np.stack(
                [centre_crop(c, field_px=config.field_px, size_px=size_px) for c in crops[i : i + batch]]
            )
            answers = network(to_tensor(neutral(views), config.device))
            outputs.append([o.float().cpu().numpy() for o in answers])
    return np.concatenate([o[0] for o in outputs]), np.concatenate([o[1] for o in outputs])


def _epoch(
    run: Run,
    config: TrainingConfig,
    real: Pool,
    drawn: Pool,
    size_px: int,
    rng: np.random.Generator,
    team: Team,
    rank: int,
    teacher: Teacher | None,
) -> float:
    source = batches(
        real, drawn, drawn_share=config.drawn_share, batch=config.batch // team.size, field_px=config.field_px,
        size_px=max(size_px, teacher.size_px if teacher else 0), strength=config.augmentation, rng=rng,
    )  # fmt: skip
    run.network.train()
    losses: list[float] = []
    clock = time.monotonic()
    for views, allowed in ahead(source, steps_per_epoch(config)):
        for group in run.optimiser.param_groups:
            group["lr"] = rate(progress(run, config), config.peak_rate)
        cells = to_tensor(views, config.device)
        with autocast(config.device, bfloat16=config.bfloat16):
            logits, _ = run.network(brought_to(cells, size_px))
        loss = partial_loss(
            logits.float(), torch.from_numpy(allowed).to(config.device), config.label_smoothing
        )
        if teacher is not None:
            share = config.teacher_share
            loss = (1 - share) * loss + share * distillation_loss(logits.float(), teacher.logits(cells))
        run.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        now = time.monotonic()
        shared = torch.tensor([float(loss.detach()), run.seconds + now - clock])
        clock = now
        team.mean(rank, [shared, *(p.grad for p in run.network.parameters() if p.grad is not None)])
        # The processes agree on the time, and with it on learning rate, image size and end.
        run.seconds = float(shared[1])
        losses.append(float(shared[0]))
        nn.utils.clip_grad_norm_(run.network.parameters(), 5.0)
        run.optimiser.step()
        run.steps += 1
        if rank == 0:
            follow(run, config.average_decay)
        if progress(run, config) >= 1:
            break
    return sum(losses) / len(losses)


def _validate(
    network: CellClassifier, crops: Crops, allowed: Allowed, config: TrainingConfig, size_px: int
) -> dict[str, float]:
    logits, _ = infer(network, crops, config, size_px=size_px)
    return {
        "validation_accuracy": float(allowed[np.arange(len(crops)), logits.argmax(1)].mean()),
        "validation_loss": float(partial_loss(torch.tensor(logits), torch.tensor(allowed), 0.0)),
    }


def _fingerprint(records: Sequence[CellRecord]) -> str:
    """Of images, their labels and splits, in whatever order."""
    lines = sorted(f"{r.sha256} {r.source_label} {r.split}" for r in records)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _sample(records: list[CellRecord], count: int, rng: np.random.Generator) -> list[CellRecord]:
    if len(records) <= count:
        return records
    return [records[i] for i in sorted(rng.choice(len(records), size=count, replace=False))]


@click.command()
@click.option(
    "--data", type=click.Path(path_type=Path, exists=True), required=True, help="Folder of manifest.csv."
)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for the checkpoint.")
@click.option("--leave-out", multiple=True, help="A source that is not to be seen; may be given again.")
@training_options
@click.option("--resume", is_flag=True, help="Go on from OUT/checkpoint.pt.")
def main(data: Path, out: Path, leave_out: tuple[str, ...], resume: bool, **options: Any) -> None:
    """Train the cell classifier on DATA (a folder with manifest.csv and cells/)."""
    config = TrainingConfig(left_out=leave_out, **options)
    try:
        records = with_validation(read_corpus(data))
        audit(records, required=[t for t in CELL_TYPES if t != "not_a_cell"])
        train(records, config, out, weak=weak_cells(data), resume=resume)
    except LeukoError as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    main()
