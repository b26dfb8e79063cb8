"""The benchmark's plain way answers as the package does, however its weights are stored."""

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the train extra is not installed")
pytest.importorskip("onnx", reason="the train extra is not installed")

from benchmarks.reader import _eager  # noqa: E402
from models.labels import CELL_TYPES  # noqa: E402
from models.network_graph import write_onnx  # noqa: E402
from models.networks import build_network  # noqa: E402
from models.package import file_digest, load_card  # noqa: E402
from models.packaged import PackagedNetwork  # noqa: E402
from tests.fakes.tiny_package import write_tiny_package  # noqa: E402


@pytest.mark.parametrize("storage", ["float16", "int8"])
def test_the_plain_way_has_the_package_s_weights(storage: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    network = build_network("resnet34", len(CELL_TYPES))
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):  # fresh ones are all alike, and stored once for all
            torch.nn.init.normal_(module.bias, std=0.1)
    write_onnx([network], tmp_path / "n.onnx", size_px=64, storage=storage)
    crop = {"size_px": 64, "um_per_px": 0.334, "mean": [0.75, 0.62, 0.68], "std": [0.21, 0.25, 0.15]}
    package = write_tiny_package(
        tmp_path / "package", network=tmp_path / "n.onnx", embedding=512, labels=list(CELL_TYPES), input=crop,
        architecture="resnet34",
    )  # fmt: skip
    card = load_card(package)
    assert card.document["files"][card.weights_file] == file_digest(package / card.weights_file)
    views = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)
    said, _ = PackagedNetwork.of_card(package / card.weights_file, card, threads=1).views(views)
    scaled = (views.astype(np.float32) / 255 - np.array(card.mean)) / np.array(card.std)
    with torch.inference_mode():
        cells = torch.from_numpy(scaled.astype(np.float32)).permute(0, 3, 1, 2)
        plain, _ = _eager(package, len(CELL_TYPES))(cells)
    assert plain.numpy() == pytest.approx(said, rel=1e-3, abs=1e-2)
