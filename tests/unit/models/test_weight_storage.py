"""Weights stored small come back nearly whole, and the network answers as before."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest

torch = pytest.importorskip("torch", reason="the train extra is not installed")

import onnx  # noqa: E402
from onnx import numpy_helper  # noqa: E402

from models.network_graph import write_onnx  # noqa: E402
from models.networks import build_network  # noqa: E402
from models.weight_storage import restore, shrink  # noqa: E402


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    network = build_network("densenet121", 3).eval()
    folder = tmp_path_factory.mktemp("weights")
    for storage in ("float16", "int8"):
        write_onnx([network], folder / f"{storage}.onnx", size_px=32, storage=storage)
    return {storage: folder / f"{storage}.onnx" for storage in ("float16", "int8")}


def answers(path: Path) -> np.ndarray:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    cells = np.random.default_rng(0).standard_normal((4, 3, 32, 32)).astype(np.float32)
    return np.asarray(session.run(["embedding"], {"cells": cells})[0])


def test_int8_takes_half_of_float16_and_says_nearly_the_same(paths: dict[str, Path]) -> None:
    assert paths["int8"].stat().st_size < 0.6 * paths["float16"].stat().st_size
    half, small = answers(paths["float16"]), answers(paths["int8"])
    assert not np.array_equal(half, small)
    assert np.corrcoef(half.ravel(), small.ravel())[0, 1] > 0.999


@pytest.mark.parametrize("storage", ["float16", "int8"])
def test_restored_weights_are_those_that_were_computed_with(
    storage: str, paths: dict[str, Path], tmp_path: Path
) -> None:
    model = onnx.load(str(paths[storage]))
    restore(model)
    assert {t.data_type for t in model.graph.initializer if len(t.dims) == 4} == {onnx.TensorProto.FLOAT}
    onnx.checker.check_model(model)
    onnx.save(model, str(tmp_path / "whole.onnx"))
    assert answers(tmp_path / "whole.onnx") == pytest.approx(answers(paths[storage]), abs=1e-4)


def test_a_channel_of_zeros_stays_zero_and_others_are_off_by_half_a_step() -> None:
    values = np.random.default_rng(0).standard_normal((32, 64)).astype(np.float32)
    values[3] = 0
    graph = onnx.helper.make_graph([], "g", [], [], [numpy_helper.from_array(values, "w")])
    model = onnx.helper.make_model(graph)
    shrink(model, "int8")
    restore(model)
    back = numpy_helper.to_array(model.graph.initializer[0])
    assert not back[3].any()
    assert (np.abs(back - values).max(axis=1) <= np.abs(values).max(axis=1) / 254 + 1e-6).all()


def test_what_cannot_be_stored_is_refused() -> None:
    values = np.full((32, 64), 1e6, np.float32)
    graph = onnx.helper.make_graph([], "g", [], [], [numpy_helper.from_array(values, "w")])
    with pytest.raises(ValueError, match="does not fit into float16"):
        shrink(onnx.helper.make_model(graph), "float16")
    with pytest.raises(ValueError, match="none of float16, int8"):
        shrink(onnx.helper.make_model(graph), "int4")
