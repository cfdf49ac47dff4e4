"""Running an ONNX model with onnxruntime: where, in which batches, and where it can be read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch

from ...arrays import Array
from ...errors import BadInput
from ..specs import Tap
from .compute import Compute
from .onnx_graph import Graph

_FLOATS: dict[str, Any] = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(double)": np.float64}


@dataclass(frozen=True)
class ModelInput:
    """The one input of a model.

    Parameters
    ----------
    name : str
    dtype : type
        Of numpy.
    batch : int or None
        How many images it takes together; None where any number.
    height, width : int or None
        None where any.
    channels_last : bool
    """

    name: str
    dtype: Any
    batch: int | None
    height: int | None
    width: int | None
    channels_last: bool

    @classmethod
    def of(cls, session: Any, name: str) -> ModelInput:
        """Return the input of a session, or refuse what is no batch of RGB images."""
        inputs = session.get_inputs()
        shape = [d if isinstance(d, int) and d > 0 else None for d in inputs[0].shape] if len(inputs) == 1 else []
        first = inputs[0] if len(inputs) == 1 else None
        last = len(shape) == 4 and shape[3] == 3 and shape[1] != 3
        if first is None or len(shape) != 4 or first.type not in _FLOATS or not (last or shape[1] == 3):
            said = "; ".join(f"{i.name}: {i.type} {i.shape}" for i in inputs)
            raise BadInput(
                f"{name} does not take a batch of images alone, float [n, 3, height, width]: it has {said}.",
                hint="Export the image encoder alone, with three channels that the graph states.",
                key=name,
                found=said,
            )
        height, width = (shape[1], shape[2]) if last else (shape[2], shape[3])
        return cls(first.name, _FLOATS[first.type], shape[0], height, width, last)

    def run(self, session: Any, images: Array, outputs: Sequence[str]) -> list[Array]:
        """Run a model on images [n, 3, h, w] of any number; where it takes a fixed one, the last batch is filled up."""
        images = images.transpose(0, 2, 3, 1) if self.channels_last else images
        images = np.ascontiguousarray(images, dtype=self.dtype)
        if self.batch is None:
            return list(session.run(list(outputs), {self.name: images}))
        parts = []
        for start in range(0, len(images), self.batch):
            part = images[start : start + self.batch]
            filled = np.concatenate([part, np.zeros((self.batch - len(part), *part.shape[1:]), part.dtype)])
            parts.append([out[: len(part)] for out in session.run(list(outputs), {self.name: filled})])
        return [np.concatenate(column) for column in zip(*parts, strict=True)]


class RunningModel(NamedTuple):
    """A model that onnxruntime has loaded.

    Parameters
    ----------
    session : InferenceSession
    input : ModelInput
    widths : mapping of str to int
        Of every tap that the model has.
    parameters : int
        How many numbers its initializers hold.
    """

    session: Any
    input: ModelInput
    widths: Mapping[Tap, int]
    parameters: int


def session_of(graph: Graph, compute: Compute, name: str, notes: list[str]) -> tuple[Any, torch.device]:
    """Return what runs a graph, with as many threads as torch has, and the device on which it does."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 4  # what is wrong is said once, by the error
    device, providers = torch.device("cpu"), ["CPUExecutionProvider"]
    settings: list[dict[str, str]] = [{}]
    if compute.device.type == "cuda":
        if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
            device, providers = compute.device, ["CUDAExecutionProvider", *providers]
            settings = [{"device_id": str(device.index or 0), "use_tf32": "0"}, {}]
        else:
            notes.append("this onnxruntime has no CUDA: the CPU computes (pip install onnxruntime-gpu)")
    try:
        return onnxruntime.InferenceSession(graph.serialized, options, providers, settings), device
    except Exception as error:  # onnxruntime's errors share no public root
        detail = str(error).strip().split("\n")[0]
        raise BadInput(
            f"onnxruntime {onnxruntime.__version__} cannot run {name}: {detail}",
            hint="A newer version may: pip install -U onnxruntime; or export it for an older opset.",
            key=name,
        ) from error
