"""From networks to one ONNX graph that answers, gives its embedding and explains itself."""

import warnings
from collections.abc import Sequence
from pathlib import Path

import onnx
import torch
from torch import nn

from models.networks import CellClassifier
from models.weight_storage import shrink


class _Explained(nn.Module):
    """A network with the class-activation maps of Zhou et al. (2016) beside its answers.

    Pooling is a mean and the head is linear, so the head may as well be applied at each place of the last feature maps;
    the mean over a label's map is its logit.
    """

    def __init__(self, network: CellClassifier) -> None:
        super().__init__()
        self.network = network

    def forward(self, cells: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        head = self.network.head
        maps = self.network.backbone(cells)  # (n, features, h, w)
        embedding = torch.flatten(self.network.pool(maps), 1)  # (n, features)
        activation = nn.functional.conv2d(maps, head.weight[:, :, None, None], head.bias)  # (n, labels, h, w)
        return head(embedding), embedding, activation


class _Together(nn.Module):
    """Networks that answer together: mean logits, embeddings side by side, mean maps (the mean over which is again the
    logit)."""

    def __init__(self, networks: Sequence[CellClassifier]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(_Explained(network) for network in networks)

    def forward(self, cells: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        logits, embeddings, activations = zip(*(network(cells) for network in self.networks), strict=True)
        return (
            torch.stack(logits).mean(dim=0),
            torch.cat(embeddings, dim=1),
            torch.stack(activations).mean(dim=0),
        )


def write_onnx(
    networks: Sequence[CellClassifier], path: Path, *, size_px: int, storage: str = "float16"
) -> None:
    """Export with input `cells` (n, 3, h, w) and outputs `logits`, `embedding` and `activation`.

    `activation` (n, labels, h / 32, w / 32) are the class-activation maps: smaller than the feature maps that they come
    from, and all that is needed of them. storage: how the weights are kept on disk (see `models.weight_storage`).
    """
    answering = _Together(networks) if len(networks) > 1 else _Explained(networks[0])
    outputs = ["logits", "embedding", "activation"]
    dynamic = {name: {0: "n"} for name in ("cells", *outputs)}
    with warnings.catch_warnings():
        # The exporter by torch.export needs onnxscript; this one traces, which suits networks without branches.
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            answering.eval(), (torch.zeros(2, 3, size_px, size_px),), str(path), dynamo=False,
            opset_version=17, input_names=["cells"], output_names=outputs, dynamic_axes=dynamic,
        )  # fmt: skip
    model = onnx.load(str(path))
    shrink(model, storage)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
