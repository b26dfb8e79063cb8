"""The networks: torchvision's, with the pooled embedding beside the logits."""

from collections.abc import Callable

import torch
import torchvision
from torch import nn

ARCHITECTURES = ("resnet34", "densenet121")


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
    """One of ARCHITECTURES. pretrained: fetch torchvision's ImageNet weights (needs the network; off by default).

    Raises ValueError for an architecture that is not known.
    """
    builders: dict[str, Callable[[bool], tuple[nn.Module, int]]] = {
        "resnet34": _resnet34,
        "densenet121": _densenet121,
    }
    if architecture not in builders:
        raise ValueError(f"unknown architecture {architecture!r}: one of {', '.join(ARCHITECTURES)}")
    backbone, features = builders[architecture](pretrained)
    return CellClassifier(backbone, features, labels)


def _resnet34(pretrained: bool) -> tuple[nn.Module, int]:
    weights = torchvision.models.ResNet34_Weights.IMAGENET1K_V1 if pretrained else None
    net = torchvision.models.resnet34(weights=weights)
    stem = (net.conv1, net.bn1, net.relu, net.maxpool)
    return nn.Sequential(*stem, net.layer1, net.layer2, net.layer3, net.layer4), net.fc.in_features


def _densenet121(pretrained: bool) -> tuple[nn.Module, int]:
    weights = torchvision.models.DenseNet121_Weights.IMAGENET1K_V1 if pretrained else None
    net = torchvision.models.densenet121(weights=weights)
    return nn.Sequential(net.features, nn.ReLU()), net.classifier.in_features
