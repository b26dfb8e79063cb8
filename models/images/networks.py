"""The networks of the task: the two of the paper, and the small one that it compares them with."""

from torch import nn

from models.images.kinds import NETWORKS
from models.networks import CellClassifier, build_network

_WIDTHS = (16, 32, 64, 128)


def build_image_network(model: str, labels: int, *, pretrained: bool = False) -> CellClassifier:
    """One of `kinds.NETWORKS`; answers logits ``(n, labels)`` and the pooled embedding.

    Raises ValueError for another name, or when ImageNet weights are asked of the small network, which has none.
    """
    if model not in NETWORKS:
        raise ValueError(f"unknown network {model!r}: one of {', '.join(NETWORKS)}")
    if model != "small-cnn":
        return build_network(model, labels, pretrained=pretrained)
    if pretrained:
        raise ValueError("small-cnn has no weights trained on ImageNet")
    blocks = [
        nn.Sequential(
            nn.Conv2d(before, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.MaxPool2d(2),
        )
        for before, width in zip((3, *_WIDTHS), _WIDTHS, strict=False)
    ]
    return CellClassifier(nn.Sequential(*blocks), _WIDTHS[-1], labels)
