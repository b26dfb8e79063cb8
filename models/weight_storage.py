"""Weights of an ONNX graph kept small on disk and whole in arithmetic: float16, or int8 with a scale for each channel.

Each large float32 initialiser becomes a smaller one and one or two nodes that restore it (Cast, or Cast and Mul),
which ONNX Runtime folds while loading: a half or a quarter of the size, float32 arithmetic at full speed. The rounding
is part of the package: figures are measured after it.
"""

import numpy as np
import onnx
from onnx import numpy_helper

#: Ways to store weights, with what a card says of them.
PRECISIONS = {
    "float16": "stored float16, computed float32",
    "int8": "stored int8 with a scale for each channel, computed float32",
}
#: Smaller tensors (biases, scales) stay as they are.
_LARGE = 1024


def shrink(model: onnx.ModelProto, storage: str) -> None:
    """Store the large weights of `model`, in place, as `storage`, one of PRECISIONS.

    Raises ValueError for another storage, and for weights that float16 cannot hold.
    """
    if storage not in PRECISIONS:
        raise ValueError(f"storage {storage!r} is none of {', '.join(PRECISIONS)}")
    nodes: list[onnx.NodeProto] = []
    for tensor in list(model.graph.initializer):
        values = numpy_helper.to_array(tensor)
        if values.dtype == np.float32 and values.size >= _LARGE:
            nodes += (_as_half if storage == "float16" else _as_int8)(model, tensor, values)
    for node in reversed(nodes):
        model.graph.node.insert(0, node)


def restore(model: onnx.ModelProto) -> None:
    """Undo `shrink`, in place: plain float32 initialisers, rounded as they were stored."""
    stored = {t.name: t for t in model.graph.initializer}
    scaled = {
        node.input[0]: node for node in model.graph.node if node.op_type == "Mul" and node.input[1] in stored
    }
    gone: list[str] = []
    for node in [n for n in model.graph.node if n.op_type == "Cast" and n.input[0] in stored]:
        values, name = numpy_helper.to_array(stored[node.input[0]]).astype(np.float32), node.output[0]
        model.graph.node.remove(node)
        if name in scaled:
            scale = scaled[name]
            values, name = values * numpy_helper.to_array(stored[scale.input[1]]), scale.output[0]
            gone.append(scale.input[1])
            model.graph.node.remove(scale)
        stored[node.input[0]].CopyFrom(numpy_helper.from_array(values, name))
    for tensor in [t for t in model.graph.initializer if t.name in gone]:
        model.graph.initializer.remove(tensor)


def _as_half(
    model: onnx.ModelProto,
    tensor: onnx.TensorProto,
    values: "np.ndarray[tuple[int, ...], np.dtype[np.float32]]",
) -> list[onnx.NodeProto]:
    if float(np.abs(values).max()) > float(np.finfo(np.float16).max) or not np.isfinite(values).all():
        raise ValueError(f"{tensor.name} does not fit into float16")
    name = tensor.name
    tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}.half"))
    return [onnx.helper.make_node("Cast", [f"{name}.half"], [name], to=onnx.TensorProto.FLOAT)]


def _as_int8(
    model: onnx.ModelProto,
    tensor: onnx.TensorProto,
    values: "np.ndarray[tuple[int, ...], np.dtype[np.float32]]",
) -> list[onnx.NodeProto]:
    # Rows are output channels; symmetric, so that zero stays zero.
    largest = np.abs(values).max(axis=tuple(range(1, values.ndim)), keepdims=True)
    scale = np.where(largest > 0, largest / 127, 1).astype(np.float32)
    name = tensor.name
    tensor.CopyFrom(numpy_helper.from_array(np.rint(values / scale).astype(np.int8), f"{name}.int8"))
    model.graph.initializer.append(numpy_helper.from_array(scale, f"{name}.scale"))
    return [
        onnx.helper.make_node("Cast", [f"{name}.int8"], [f"{name}.whole"], to=onnx.TensorProto.FLOAT),
        onnx.helper.make_node("Mul", [f"{name}.whole", f"{name}.scale"], [name]),
    ]
