"""Nodes and weights of a graph, written as ONNX and a file of weights beside it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper

from embed_job.bundle.mapped import write_tensors

OPSET = 18
IR_VERSION = 9
FUSED = "com.microsoft"
_INLINE_BYTES = 1024
"""Smaller integers stay in the graph, where shape inference sees them."""


class GraphWriter:
    """Nodes and weights of one graph. It holds the weights until they are saved."""

    def __init__(self) -> None:
        self._nodes: list[Any] = []
        self._tensors: list[Any] = []
        self._weights: dict[str, npt.NDArray[Any]] = {}

    def weight(self, name: str, array: npt.NDArray[Any]) -> str:
        """Add a constant; its name."""
        kind = helper.np_dtype_to_tensor_dtype(array.dtype)
        if array.ndim and (array.dtype == np.float32 or array.nbytes > _INLINE_BYTES):
            tensor = TensorProto(name=name, data_type=kind, dims=array.shape)
            self._weights[name] = array
        else:
            tensor = helper.make_tensor(name, kind, array.shape, array.tobytes(), raw=True)
        self._tensors.append(tensor)
        return name

    def node(self, operator: str, inputs: list[str], name: str, **attributes: Any) -> str:
        """Add a node of the same name as its output; that name."""
        outputs = [name, f"{name}_mask"] if operator == "EmbedLayerNormalization" else [name]
        self._nodes.append(helper.make_node(operator, inputs, outputs, name=name, **attributes))
        return name

    def fused(self, operator: str, inputs: list[str], name: str, **attributes: Any) -> str:
        """Add a node of ONNX Runtime's own operators."""
        return self.node(operator, inputs, name, domain=FUSED, **attributes)

    def ints(self, name: str, *values: int) -> str:
        return self.weight(name, np.array(values, np.int64))

    def save(self, path: Path, *, dimension: int, settings: Mapping[str, str]) -> None:
        """Write the graph to path and its weights to path + ``.data``, settings in their header.

        The last node must be named ``vectors``.
        """
        data = path.with_suffix(".onnx.data")
        offsets = write_tensors(data, self._weights, settings)
        for tensor in self._tensors:
            if tensor.name in offsets:
                self._refer(tensor, data.name, offsets[tensor.name])
        value = helper.make_tensor_value_info
        graph = helper.make_graph(
            self._nodes,
            "embed",
            [
                value("ids", TensorProto.INT32, ["texts", "tokens"]),
                value("lengths", TensorProto.INT32, ["texts"]),
            ],
            [value("vectors", TensorProto.FLOAT, ["texts", dimension])],
            self._tensors,
        )
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(FUSED, 1)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)
        onnx.save_model(model, str(path))

    def _refer(self, tensor: Any, location: str, offset: int) -> None:
        tensor.data_location = TensorProto.EXTERNAL
        length = self._weights[tensor.name].nbytes
        for key, value in {"location": location, "offset": offset, "length": length}.items():
            tensor.external_data.add(key=key, value=str(value))
