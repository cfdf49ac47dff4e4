"""ONNX files: read safely, and what identifies them.

The weights are the initializers, by name, wherever their bytes lie. What identifies the computation is the graph with
its operators' versions, without what changes no number: who wrote it, descriptions, names of nodes, shapes of
intermediate values, and what the sizes of inputs and outputs are called.
"""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import BadInput, NotFound
from ..first_bytes import recognised
from ..passing import patiently
from .files_read import note_file

BUILT_IN = ("", "ai.onnx", "ai.onnx.ml", "com.microsoft", "com.microsoft.nchwc", "com.ms.internal.nhwc")
"""Domains of operators that onnxruntime brings; all others would need a library that runs code of its own."""

MOST_BYTES = 2**31 - 1
"""Of a model with all its weights, which is what one message of protobuf holds."""

_MEANINGLESS = ("doc_string", "metadata_props")
_PRECISIONS = {"FLOAT": "fp32", "FLOAT16": "fp16", "BFLOAT16": "bf16"}


@dataclass(frozen=True)
class Graph:
    """What was read of an ONNX file.

    Parameters
    ----------
    serialized : bytes
        The model with all its weights: what runs is what was hashed.
    weights, graph : str
        sha256 over the initializers, and over the computation.
    precision : str
        Of the weights: ``fp32``, ``fp16`` or ``bf16``.
    parameters : int
        How many numbers the initializers hold.
    """

    serialized: bytes
    weights: str
    graph: str
    precision: str
    parameters: int


def read_graph(path: Path) -> Graph:
    """Read an ONNX file, with the external files that it names.

    Raises
    ------
    NotFound
        If the file, or one that it names, is not there.
    BadInput
        If it is no ONNX file, is too large, or has operators that only a library of somebody's own could run.
    """
    import onnx

    if not path.is_file():
        raise NotFound(f"There is no file {path}.", hint="Check the path.", key=str(path))
    note_file(path)
    raw = patiently(path.read_bytes, str(path))
    try:
        model = onnx.load_model_from_string(raw)
    except Exception as error:  # protobuf's errors differ from version to version
        raise _no_model(path, raw) from error
    if not model.HasField("graph") or not model.opset_import or not model.graph.output:
        raise _no_model(path, raw)
    _check_domains(model, path)
    _load_external(model, path)
    if (n := model.ByteSize()) > MOST_BYTES:
        raise BadInput(
            f"{path} has {n / 2**30:.1f} GiB with its weights; up to 2 GiB can be run here.",
            hint="Convert it to float16, or load the model that it was exported from: hf:FOLDER, timm:NAME.",
            key=str(path),
        )
    tensors = sorted(model.graph.initializer, key=lambda tensor: tensor.name)
    weights, precision, serialized = _weights_digest(tensors), _precision(tensors), model.SerializeToString()
    parameters = sum(math.prod(tensor.dims) for tensor in tensors)
    return Graph(serialized, weights, _graph_digest(model), precision, parameters)


def _no_model(path: Path, raw: bytes) -> BadInput:
    found = recognised(raw)
    what = f"is {found[0]}" if found else "is no ONNX model, or is cut short"
    return BadInput(f"{path} {what}.", hint=f"{found[1] if found else 'Export or copy it again'}.", key=str(path))


def _check_domains(model: Any, path: Path) -> None:
    """Refuse operators that neither onnxruntime has, nor the file defines by others."""
    local = {(function.domain, function.name) for function in model.functions}
    own = {
        (node.domain, node.op_type)
        for node in _nodes(model)
        if node.domain not in BUILT_IN and (node.domain, node.op_type) not in local
    }
    if own:
        domain, op = min(own)
        raise BadInput(
            f"{path} has operators of the domain {domain} ({op}), which need a library that runs code of its own.",
            hint="None is loaded here. Export the model with ONNX's own operators.",
            key=str(path),
            found=domain,
        )


def _load_external(model: Any, path: Path) -> None:
    """Read the weights that lie in other files, all of them below the model's folder."""
    from onnx.external_data_helper import load_external_data_for_model, uses_external_data

    outside = [tensor for tensor in _tensors(model) if uses_external_data(tensor)]
    files = {entry.value for tensor in outside for entry in tensor.external_data if entry.key == "location"}
    for file in sorted(files):
        note_file(path.parent / file)
        inside = not Path(file).is_absolute() and ".." not in Path(file).parts
        if not inside or not (path.parent / file).is_file():
            problem = "is not there" if inside else "is outside of its folder"
            raise NotFound(
                f"{path} has weights in {file}, which {problem}.",
                hint="Copy the file beside the model, under that name.",
                key=str(path),
            )
    if outside:
        try:
            load_external_data_for_model(model, str(path.parent))
        except Exception as error:  # onnx checks lengths and links in its own way
            detail = str(error).strip().split("\n")[0]
            raise BadInput(
                f"The weights of {path} in {', '.join(sorted(files))} cannot be read: {detail}",
                hint="Copy both files again.",
                key=str(path),
            ) from error


def _graphs(graph: Any) -> Iterator[Any]:
    """Yield a graph, and those within its nodes."""
    yield graph
    for node in graph.node:
        yield from _within(node)


def _within(node: Any) -> Iterator[Any]:
    for attribute in node.attribute:
        for inner in ([attribute.g] if attribute.HasField("g") else []) + list(attribute.graphs):
            yield from _graphs(inner)


def _nodes(model: Any) -> Iterator[Any]:
    for graph in _graphs(model.graph):
        yield from graph.node
    for function in model.functions:
        yield from function.node
        for node in function.node:
            for graph in _within(node):
                yield from graph.node


def _tensors(model: Any) -> Iterator[Any]:
    for graph in _graphs(model.graph):
        yield from graph.initializer
    for node in _nodes(model):
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors


def _weights_digest(tensors: Iterable[Any]) -> str:
    """Return the sha256 over initializers: of each, name, type, shape and bytes, as `weights.weights_digest` does."""
    from onnx import TensorProto, numpy_helper

    h = hashlib.sha256()
    for tensor in tensors:
        raw = tensor.raw_data or numpy_helper.to_array(tensor).tobytes()
        for field in (tensor.name.encode(), TensorProto.DataType.Name(tensor.data_type).encode()):
            h.update(struct.pack("<Q", len(field)) + field)
        h.update(struct.pack(f"<{len(tensor.dims) + 2}Q", len(tensor.dims), *tensor.dims, len(raw)))
        h.update(raw)
    return h.hexdigest()


def _precision(tensors: Iterable[Any]) -> str:
    from onnx import TensorProto

    kinds = {TensorProto.DataType.Name(tensor.data_type) for tensor in tensors if len(tensor.dims)}
    found = {_PRECISIONS[kind] for kind in kinds if kind in _PRECISIONS}
    return found.pop() if len(found) == 1 else "fp32"


def _graph_digest(model: Any) -> str:
    """Return the sha256 over the computation; takes what changes no number, and the weights, out of the model."""
    del model.graph.initializer[:]
    for field in ("ir_version", "producer_name", "producer_version", "domain", "model_version", *_MEANINGLESS):
        model.ClearField(field)
    for graph in _graphs(model.graph):
        for field in ("name", "value_info", *_MEANINGLESS):
            graph.ClearField(field)
        for value in (*graph.input, *graph.output):
            _clear(value)
            for dim in value.type.tensor_type.shape.dim:
                if dim.HasField("dim_param"):
                    dim.ClearField("dim_param")
                dim.ClearField("denotation")
    for function in model.functions:
        for field in ("value_info", *_MEANINGLESS):
            _clear_field(function, field)
    for node in _nodes(model):
        node.ClearField("name")
        _clear(node)
        for attribute in node.attribute:
            attribute.ClearField("doc_string")
    opsets = sorted(model.opset_import, key=lambda opset: opset.domain)
    versions = "".join(f"{opset.domain} {opset.version}\n" for opset in opsets)
    model.ClearField("opset_import")
    return hashlib.sha256(versions.encode() + model.SerializeToString(deterministic=True)).hexdigest()


def _clear(message: Any) -> None:
    for field in _MEANINGLESS:
        _clear_field(message, field)


def _clear_field(message: Any, field: str) -> None:
    if field in message.DESCRIPTOR.fields_by_name:  # older versions of ONNX lack some
        message.ClearField(field)
