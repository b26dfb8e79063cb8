"""The networks: torchvision's, and one that comes with ImageNet weights in a file, each with the pooled embedding
beside the logits."""

from collections.abc import Callable
from pathlib import Path

import torch
import torchvision
from torch import nn

from models.checkpoints import read_state
from models.efficientnet_lite import FEATURES, EfficientNetLite0
from models.errors import TrainingStopped

#: The networks that serve.
ARCHITECTURES = ("resnet34", "densenet121")
#: Teaches those that serve: the one network whose ImageNet weights the package index holds (docs/decisions/0042).
TEACHER = "efficientnet_lite0"
#: Channel mean and deviation (of 0 to 1) over training cells, rounded: every network's input is normalised by them.
MEAN = (0.75, 0.62, 0.68)
STD = (0.21, 0.25, 0.15)


class CellClassifier(nn.Module):
    """A convolutional backbone, global average pooling and one linear layer.

    Input ``(n, 3, h, w)`` float32, normalised; output logits ``(n, labels)`` and embedding ``(n, features)``.
    """

    def __init__(self, backbone: nn.Module, features: int, labels: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(features, labels)

    def forward(self, cells: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        maps = self.backbone(cells)  # (n, features, h / 32, w / 32)
        embedding = torch.flatten(self.pool(maps), 1)  # (n, features)
        return self.head(embedding), embedding


def autocast(device: str, *, bfloat16: bool) -> torch.autocast:
    """Matrix products in bfloat16 on that device where asked; weights and sums stay float32."""
    return torch.autocast(device.split(":")[0], torch.bfloat16, enabled=bfloat16)


def build_network(architecture: str, labels: int, *, pretrained: bool = False) -> CellClassifier:
    """One of ARCHITECTURES, or TEACHER. pretrained: fetch torchvision's ImageNet weights (needs the network; off by
    default; TEACHER's come from a file, see `load_published`).

    Raises ValueError for an architecture that is not known.
    """
    builders: dict[str, Callable[[bool], tuple[nn.Module, int]]] = {
        "resnet34": _resnet34,
        "densenet121": _densenet121,
        TEACHER: _efficientnet_lite0,
    }
    if architecture not in builders:
        raise ValueError(f"unknown architecture {architecture!r}: one of {', '.join(builders)}")
    backbone, features = builders[architecture](pretrained)
    return CellClassifier(backbone, features, labels)


def load_published(network: CellClassifier, weights: Path) -> None:
    """Give a TEACHER's backbone the published ImageNet weights in the file `weights`; its head stays random.

    Raises TrainingStopped for a network that has none, and for a file that is not of them.
    """
    if not isinstance(network.backbone, EfficientNetLite0):
        raise TrainingStopped(f"weights from a file are for {TEACHER} alone")
    try:
        network.backbone.load_published(read_state(weights))
    except RuntimeError as error:  # what torch raises for names and shapes that do not fit
        raise TrainingStopped(f"{weights} holds no weights of {TEACHER}: {error}") from error


def _resnet34(pretrained: bool) -> tuple[nn.Module, int]:
    weights = torchvision.models.ResNet34_Weights.IMAGENET1K_V1 if pretrained else None
    net = torchvision.models.resnet34(weights=weights)
    stem = (net.conv1, net.bn1, net.relu, net.maxpool)
    return nn.Sequential(*stem, net.layer1, net.layer2, net.layer3, net.layer4), net.fc.in_features


def _densenet121(pretrained: bool) -> tuple[nn.Module, int]:
    weights = torchvision.models.DenseNet121_Weights.IMAGENET1K_V1 if pretrained else None
    net = torchvision.models.densenet121(weights=weights)
    return nn.Sequential(net.features, nn.ReLU()), net.classifier.in_features


def _efficientnet_lite0(pretrained: bool) -> tuple[nn.Module, int]:
    if pretrained:
        raise ValueError(f"torchvision has no weights of {TEACHER}: give them as a file")
    return EfficientNetLite0(MEAN, STD), FEATURES
