"""A network learns from another's answers besides the labels (Hinton, Vinyals and Dean 2015).

What the teacher brought from elsewhere, ImageNet's weights for one, passes over to a network that never had it.
Both are shown the same augmented views, each at the size that it reads.
"""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.nn.functional import interpolate, kl_div

from models.errors import TrainingStopped
from models.labels import CELL_TYPES
from models.networks import CellClassifier, autocast, build_network
from models.training_run import read_checkpoint

#: Softens both networks' answers, so that the unlikely types are learnt from too.
TEMPERATURE = 2.0


@dataclass(frozen=True, slots=True, eq=False)
class Teacher:
    """A trained network that learns no more. size_px: side of the cells that it reads."""

    network: CellClassifier
    size_px: int

    def logits(self, cells: torch.Tensor) -> torch.Tensor:
        """float32 ``(n, labels)`` for normalised `cells` ``(n, 3, s, s)`` of any size."""
        with torch.no_grad(), autocast(cells.device.type, bfloat16=True):
            answer: torch.Tensor = self.network(brought_to(cells, self.size_px))[0]
        return answer.float()


def read_teacher(checkpoint: Path, left_out: Collection[str] = (), device: str = "cpu") -> Teacher:
    """The averaged weights of a checkpoint, as a teacher.

    Raises TrainingStopped for a file that is no checkpoint, or of a run that has seen a source of `left_out`.
    """
    state = read_checkpoint(checkpoint)
    config = state["config"]
    if seen := sorted(set(left_out) - set(config["left_out"])):
        raise TrainingStopped(f"{checkpoint} has seen {', '.join(seen)}, which are to be left out")
    network = build_network(config["architecture"], len(CELL_TYPES))
    network.load_state_dict(state["average"])
    network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    sizes = [int(entry["size_px"]) for entry in state["history"]]
    return Teacher(network.eval(), sizes[-1] if sizes else int(config["stages"][-1][1]))


def brought_to(cells: torch.Tensor, size_px: int) -> torch.Tensor:
    """`cells` ``(n, 3, s, s)`` at another size; where it is theirs, as they are."""
    if cells.shape[-1] == size_px:
        return cells
    return interpolate(cells, (size_px, size_px), mode="bilinear", antialias=True)


def distillation_loss(logits: torch.Tensor, taught: torch.Tensor) -> torch.Tensor:
    """Mean Kullback-Leibler divergence of softened answers ``(n, labels)`` from the teacher's, times the temperature
    squared, which keeps its gradients as large as those of the labels."""
    student = torch.log_softmax(logits / TEMPERATURE, dim=1)
    teacher = torch.log_softmax(taught / TEMPERATURE, dim=1)
    return kl_div(student, teacher, reduction="batchmean", log_target=True) * TEMPERATURE**2
