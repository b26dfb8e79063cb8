"""An int8 variant of a package: whole, loadable, nearly the same answers, and never half there."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

torch = pytest.importorskip("torch", reason="the train extra is not installed")
onnx = pytest.importorskip("onnx", reason="the train extra is not installed")

from cds.errors import PackageError  # noqa: E402
from models import quantise  # noqa: E402
from models.augment import centre_crop  # noqa: E402
from models.classifier import CropClassifier  # noqa: E402
from models.corpus import CellRecord, load_crops, read_corpus, with_validation  # noqa: E402
from models.errors import CorpusError  # noqa: E402
from models.labels import CELL_TYPES  # noqa: E402
from models.network_graph import write_onnx  # noqa: E402
from models.networks import CellClassifier  # noqa: E402
from models.package import load_card, load_identity  # noqa: E402
from models.quantise import quantise_package  # noqa: E402
from models.reader import open_reader  # noqa: E402
from tests.fakes.corpus import write_corpus  # noqa: E402
from tests.fakes.tiny_package import write_tiny_package  # noqa: E402

FEW = {"calibration_cells": 12, "fitted_on": 8, "drawn_per_type": 1}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    kinds = [("barcelona", t, "none") for t in ("eosinophil", "monocyte", "lymphocyte")]
    kinds += [("hopkins", "blast", "AML")]
    rows = [(*k, f"{k[1]}-{n // 2}", "train") for k in kinds for n in range(10)]
    return write_corpus(tmp_path_factory.mktemp("corpus"), rows)


@pytest.fixture(scope="module")
def records(corpus: Path) -> list[CellRecord]:
    return with_validation(read_corpus(corpus))


def small_network() -> CellClassifier:
    """Four convolutions, one of them with a short cut, as in the real ones."""

    class ShortCut(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = (torch.nn.Conv2d(32, 32, 3, padding=1) for _ in range(2))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.relu(x + self.two(torch.relu(self.one(x))))

    first, last = torch.nn.Conv2d(3, 32, 7, stride=4, padding=3), torch.nn.Conv2d(32, 64, 3, stride=4)
    backbone = torch.nn.Sequential(
        first, torch.nn.ReLU(), torch.nn.MaxPool2d(2), ShortCut(), last, torch.nn.ReLU()
    )
    return CellClassifier(backbone, 64, len(CELL_TYPES))


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package with a network of random weights, as it is exported."""
    folder = tmp_path_factory.mktemp("package")
    torch.manual_seed(0)
    torch.set_num_threads(1)
    weights = folder / "network.onnx"
    write_onnx([small_network()], weights, size_px=64)
    crop = {"size_px": 64, "um_per_px": 0.334, "mean": [0.75, 0.62, 0.68], "std": [0.21, 0.25, 0.15]}
    return write_tiny_package(
        folder / "float", network=weights, embedding=64, labels=list(CELL_TYPES), temperature=50.0,
        input={**crop, "white_balance": True},
    )  # fmt: skip


@pytest.fixture(scope="module")
def quantised(
    package: Path, records: list[CellRecord], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, quantise.Agreement]:
    out = tmp_path_factory.mktemp("quantised") / "int8"
    return out, quantise_package(package, records, out, reduce_range=True, allow_disagreement=True, **FEW)


def test_the_new_card_says_what_was_done_and_measured(
    package: Path, quantised: tuple[Path, quantise.Agreement], records: list[CellRecord]
) -> None:
    folder, agreement = quantised
    before, card = load_card(package), load_card(folder)
    assert (card.name, card.version) == ("tiny-int8", "1")
    assert card.document["weights"]["precision"] == "int8 QDQ"
    assert (card.white_balance, card.labels) == (True, before.labels)
    assert card.pattern_model == before.pattern_model
    told = card.document["quantisation"]
    assert told["of"] == {"name": "tiny", "version": "1", "digest": load_identity(package).digest}
    assert told["weight_bits"] == 7
    assert told["calibration_cells"] == {"barcelona": 6, "hopkins": 6}
    assert told["validation_cells"] == agreement.cells == sum(r.split == "validation" for r in records) > 0
    assert told["same_type"] == pytest.approx(agreement.same_type, abs=1e-4)


def test_the_agreement_is_that_of_the_two_packages(
    package: Path, quantised: tuple[Path, quantise.Agreement], records: list[CellRecord]
) -> None:
    folder, agreement = quantised
    crops = load_crops([r for r in records if r.split == "validation"])
    views = np.stack([centre_crop(c, field_px=128, size_px=64) for c in crops])
    float32, int8 = (CropClassifier(load_card(p), p, threads=1) for p in (package, folder))
    (a, _), (b, _) = float32.classify(views), int8.classify(views)
    assert agreement.same_type == pytest.approx((a.argmax(axis=1) == b.argmax(axis=1)).mean())
    assert agreement.largest_difference == pytest.approx(np.abs(a - b).max(), abs=1e-5)
    maps = [c.activations(views[:4]) for c in (float32, int8)]
    assert np.corrcoef(maps[0].ravel(), maps[1].ravel())[0, 1] > 0.99


def test_all_but_the_first_convolution_and_the_maps_are_integers(
    quantised: tuple[Path, quantise.Agreement],
) -> None:
    graph = onnx.load(str(quantised[0] / "weights.onnx")).graph
    made_by = {output: node.op_type for node in graph.node for output in node.output}
    inputs = Counter(made_by.get(node.input[1]) for node in graph.node if node.op_type == "Conv")
    assert inputs == {"DequantizeLinear": 3, None: 2}
    weights = [t for t in graph.initializer if t.data_type == onnx.TensorProto.INT8 and len(t.dims) == 4]
    assert len(weights) == 3
    # Seven bits, as asked for.
    assert max(int(np.abs(onnx.numpy_helper.to_array(t).astype(int)).max()) for t in weights) <= 64


def test_it_reads_like_any_package(quantised: tuple[Path, quantise.Agreement]) -> None:
    reader = open_reader(quantised[0])
    explained = reader.explain(np.full((96, 96, 3), 200, np.uint8), "myeloblast")
    assert explained.map.shape == (64, 64)


def test_too_little_agreement_leaves_no_package(
    package: Path, records: list[CellRecord], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quantise, "MIN_AGREEMENT", 1.01)
    with pytest.raises(PackageError, match="keep their type in int8"):
        quantise_package(package, records, tmp_path / "out", **FEW)
    assert list(tmp_path.iterdir()) == []


def test_without_validation_cells_there_is_nothing_to_compare(
    package: Path, records: list[CellRecord], tmp_path: Path
) -> None:
    taught = [r for r in records if r.split == "train"]
    with pytest.raises(CorpusError, match="validation cells"):
        quantise_package(package, taught, tmp_path / "out", **FEW)


def test_the_command_says_in_a_sentence_what_is_wrong(corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    arguments = ["--package", tmp_path / "empty", "--data", corpus, "--out", tmp_path / "out"]
    result = CliRunner().invoke(quantise.main, [str(a) for a in arguments])
    assert result.exit_code == 1
    assert "no model package" in result.output
    assert not (tmp_path / "out").exists()
