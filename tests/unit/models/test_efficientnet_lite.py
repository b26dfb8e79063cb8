"""EfficientNet-Lite0: the shapes of its published weights, and what a cell network makes of a file of them."""

from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="the train extra is not installed")

from models.efficientnet_lite import FEATURES, EfficientNetLite0, _SameConv  # noqa: E402
from models.errors import TrainingStopped  # noqa: E402
from models.networks import TEACHER, build_network, load_published  # noqa: E402


def published(seed: int = 3) -> dict[str, Any]:
    """A state dict as the published file's: names and shapes of the backbone, and the head of a thousand classes."""
    torch.manual_seed(seed)
    state = EfficientNetLite0((0.5,) * 3, (0.5,) * 3).state_dict()
    return {**state, "_fc.weight": torch.zeros(1000, FEATURES), "_fc.bias": torch.zeros(1000)}


def test_names_and_size_are_those_of_the_published_weights() -> None:
    state = published()
    assert len(state) == 296
    assert sum(v.numel() for v in state.values()) == 4_694_073
    assert state["_blocks.0._depthwise_conv.weight"].shape == (32, 1, 3, 3)
    assert "_blocks.0._expand_conv.weight" not in state
    assert state["_blocks.15._project_conv.weight"].shape == (320, 1152, 1, 1)


def test_published_weights_are_taken_up_without_their_head(tmp_path: Path) -> None:
    state = published()
    torch.save(state, tmp_path / "weights.pth")
    network = build_network(TEACHER, 5)
    load_published(network, tmp_path / "weights.pth")
    taken = network.backbone.state_dict()
    assert all(torch.equal(taken[name], state[name]) for name in taken)
    with torch.inference_mode():
        logits, embedding = network.eval()(torch.zeros(2, 3, 64, 64))
    assert logits.shape == (2, 5)
    assert embedding.shape == (2, FEATURES)


def test_weights_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    torch.save({"_conv_stem.weight": torch.zeros(1)}, tmp_path / "weights.pth")
    with pytest.raises(TrainingStopped, match="holds no weights of efficientnet_lite0"):
        load_published(build_network(TEACHER, 3), tmp_path / "weights.pth")
    with pytest.raises(TrainingStopped, match="for efficientnet_lite0 alone"):
        load_published(build_network("resnet34", 3), tmp_path / "weights.pth")
    (tmp_path / "text.pth").write_text("no weights")
    with pytest.raises(TrainingStopped, match="is no checkpoint"):
        load_published(build_network(TEACHER, 3), tmp_path / "text.pth")
    with pytest.raises(ValueError, match="give them as a file"):
        build_network(TEACHER, 3, pretrained=True)


def test_the_input_is_brought_to_what_the_weights_expect() -> None:
    """Cells normalised by our mean and deviation reach the stem as (value - 127/255) / (128/255)."""
    mean, std = (0.7, 0.6, 0.5), (0.2, 0.3, 0.1)
    ours = EfficientNetLite0(mean, std).eval()
    theirs = EfficientNetLite0((127 / 255,) * 3, (128 / 255,) * 3).eval()
    theirs.load_state_dict(ours.state_dict())
    cells = torch.rand(1, 3, 64, 64)
    own = (cells - torch.tensor(mean).view(1, 3, 1, 1)) / torch.tensor(std).view(1, 3, 1, 1)
    with torch.inference_mode():
        torch.testing.assert_close(ours(own), theirs((cells - 127 / 255) / (128 / 255)), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("side", "kernel", "first"), [(6, 3, 0), (7, 3, -1), (6, 5, -1), (7, 5, -2)])
def test_what_is_odd_of_the_padding_goes_to_the_right_and_below(side: int, kernel: int, first: int) -> None:
    convolution = _SameConv(1, 1, kernel, stride=2)
    torch.nn.init.ones_(convolution.weight)
    ramp = torch.arange(float(side * side)).view(1, 1, side, side)
    with torch.inference_mode():
        out = convolution(ramp)
    assert out.shape[-1] == -(-side // 2)
    seen = range(max(0, first), first + kernel)
    assert float(out[0, 0, 0, 0]) == sum(side * row + column for row in seen for column in seen)
