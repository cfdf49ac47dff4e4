"""Encoders from ONNX files, run by onnxruntime.

The file says nothing of how images are prepared: that comes from a ``preprocessor_config.json`` beside it, or from
``--preprocess``. Its taps are the names of its outputs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from ...arrays import Array
from ...errors import BadInput, NotFound
from ..options import PixelOptions
from ..specs import EncoderSpec, Preprocessing, StoredDtype, Tap
from .compute import Compute
from .families import EncoderRequest, ModelName
from .onnx_graph import Graph, read_graph
from .onnx_session import ModelInput, RunningModel, session_of
from .preprocess_as import beside, prepared_as
from .transforms import Transform

CLS, MEAN = "cls", "mean"
"""Of an output of tokens [n, tokens, d]: the first of them, and the mean of all of them; of a map, the mean."""


def names() -> Iterable[ModelName]:
    """List what can be named: any file."""
    yield ModelName("onnx", "FILE", None, True)


def check(named: ModelName, *, need_weights: bool) -> None:
    """Refuse to go on without onnx and onnxruntime; see `families.FamilyModule`."""
    if missing := [package for package in ("onnx", "onnxruntime") if find_spec(package) is None]:
        raise NotFound(
            f"{named.name} needs the package {missing[0]}, which is not installed.",
            hint="pip install 'cryoprobe[onnx]'",
            key=named.name,
        )


def load(asked: EncoderRequest) -> OnnxEncoder:
    """Load an ONNX file; see `registry.load_encoder`."""
    name = asked.name
    for option, given in (("checkpoint", asked.checkpoint), ("untrained", asked.seed)):
        if given is not None:
            raise BadInput(
                f"{name} brings its own weights, and takes no --{option}.", hint=f"Leave --{option} out.", key=option
            )
    path = Path(asked.architecture).expanduser()
    graph = read_graph(path)
    notes = _precision_notes(graph, asked.compute, name)
    transform, preprocessing = _preprocessing(path, asked.pixels, name)
    session, device = session_of(graph, asked.compute, name, notes)
    model_input = ModelInput.of(session, name)
    height, width = preprocessing.image_size or (0, 0)
    if (model_input.height or height, model_input.width or width) != (height, width):
        raise BadInput(
            f"{name} takes images of {model_input.height} x {model_input.width} pixels, and its preprocessing gives "
            f"{height} x {width}.",
            hint="Give --resize and --crop, or --image-size, for the size that it takes.",
            key=name,
        )
    widths = _widths(session, model_input, (height, width), name)
    chosen = _choose(asked.taps, list(widths), name)
    spec = EncoderSpec(
        family="onnx",
        architecture=graph.graph,
        weights=graph.weights,
        preprocessing=preprocessing,
        tap=chosen[0],
        precision=graph.precision,
    )
    running = RunningModel(session, model_input, widths, graph.parameters)
    return OnnxEncoder(name, running, chosen, transform, spec, device, notes)


class OnnxEncoder:
    """An ONNX model behind the protocol of encoders; see `base.Encoder`."""

    untrained = False
    seed: int | None = None
    checkpoint_sha256: str | None = None

    def __init__(
        self,
        name: str,
        model: RunningModel,
        taps: Sequence[Tap],
        transform: Transform,
        spec: EncoderSpec,
        device: torch.device,
        notes: Sequence[str],
    ) -> None:
        self.name = name
        self.model = model
        self.taps = tuple(taps)
        self.device = device
        self._transform, self._spec = transform, spec
        self._notes = tuple(notes)

    def notes(self) -> tuple[str, ...]:
        """Return what was guessed when the file was read, a line each."""
        return self._notes

    def spec(self, tap: Tap, stored_dtype: StoredDtype = "float16") -> EncoderSpec:
        """Return the identity of this encoder at one tap."""
        return self._spec.model_copy(update={"tap": tap, "stored_dtype": stored_dtype})

    def preprocess(self, image: Image.Image) -> torch.Tensor:
        """Turn an image as PIL opened it into a float32 tensor [3, h, w]; safe to call from several threads."""
        return self._transform(image)

    def encode(self, batch: torch.Tensor) -> Mapping[Tap, torch.Tensor]:
        """Encode float32 images [n, 3, h, w]; return float32 CPU tensors [n, d], one per tap, not normalised."""
        outputs = list(dict.fromkeys(output_of(tap) for tap in self.taps))
        try:
            found = self.model.input.run(self.model.session, batch.detach().cpu().numpy(), outputs)
        except Exception as error:  # onnxruntime's errors share no public root
            detail = str(error).strip().split("\n")[0]
            raise BadInput(
                f"{self.name} fails on a batch {list(batch.shape)}: {detail}",
                hint="Was it exported for batches of another size? --batch-size 1 runs each image alone.",
                key=self.name,
            ) from error
        by_name = dict(zip(outputs, found, strict=True))
        return {tap: torch.from_numpy(_at(by_name[output_of(tap)], tap)) for tap in self.taps}


def output_of(tap: Tap) -> str:
    """Return the output in which a tap is.

    Examples
    --------
    >>> output_of("last_hidden_state:cls"), output_of("embedding")
    ('last_hidden_state', 'embedding')
    """
    output, colon, part = tap.rpartition(":")
    return output if colon and part in (CLS, MEAN) else tap


def _at(values: Array, tap: Tap) -> Array:
    """Return the embeddings [n, d] in an output."""
    values = np.asarray(values, dtype=np.float32)
    part = tap.rpartition(":")[2] if output_of(tap) != tap else ""
    if part == CLS:
        values = values[:, 0]
    elif part == MEAN:
        values = values.mean(axis=1 if values.ndim == 3 else (2, 3))
    return np.array(values.reshape(len(values), -1), order="C")


def _taps_of(output: str, shape: Sequence[int]) -> list[Tap]:
    if len(shape) == 2 or (len(shape) == 4 and tuple(shape[2:]) == (1, 1)):
        return [output]
    if len(shape) == 3:
        return [f"{output}:{CLS}", f"{output}:{MEAN}"]
    return [f"{output}:{MEAN}"] if len(shape) == 4 else []


def _widths(session: Any, model_input: ModelInput, size: tuple[int, int], name: str) -> dict[Tap, int]:
    """Return the taps of a model and how wide they are, by what comes out for two blank images."""
    outputs = [output.name for output in session.get_outputs()]
    try:
        found = model_input.run(session, np.zeros((2, 3, *size), np.float32), outputs)
    except Exception as error:
        detail = str(error).strip().split("\n")[0]
        raise BadInput(
            f"{name} fails on two images of {size[0]} x {size[1]} pixels: {detail}",
            hint="Export it with a batch of any size (dynamic_axes, dynamic_shapes), for images of that size.",
            key=name,
        ) from error
    widths: dict[Tap, int] = {}
    for output, values in zip(outputs, found, strict=True):
        shape = np.shape(values)
        if len(shape) and shape[0] == 2 and np.issubdtype(np.asarray(values).dtype, np.floating):
            widths |= {tap: _at(values, tap).shape[1] for tap in _taps_of(output, shape)}
    if not widths:
        raise BadInput(f"{name} has no output with a row for each image: {', '.join(outputs)}.", key=name)
    return widths


def _choose(asked: Sequence[Tap], found: Sequence[Tap], name: str) -> tuple[Tap, ...]:
    have = ", ".join(found)
    for tap in asked:
        if tap not in found:
            raise BadInput(f"{name} has no tap {tap}.", hint=f"Its outputs: {have}", key=tap, expected=have)
    if len(set(asked)) != len(asked):
        raise BadInput(f"A tap is given twice: {', '.join(asked)}.", hint="Give each tap once.", key=asked[0])
    if not asked and len(found) > 1:
        raise BadInput(
            f"{name} can be read in several places: {have}.", hint=f"Say where: --tap {found[-1]}", key=name, found=have
        )
    return tuple(asked) or (found[0],)


def _preprocessing(path: Path, pixels: PixelOptions, name: str) -> tuple[Transform, Preprocessing]:
    if pixels.preprocess is not None:
        return prepared_as(pixels.preprocess, pixels, name)
    if (found := beside(path.parent, pixels, name)) is not None:
        return found
    raise BadInput(
        f"{name} does not say how images are prepared for it, and nothing is guessed.",
        hint="Name a model that has the same preprocessing, such as --preprocess timm:vit_small_patch14_dinov2; or put "
        f"a preprocessor_config.json beside {path.name}.",
        key="preprocess",
    )


def _precision_notes(graph: Graph, compute: Compute, name: str) -> list[str]:
    """Refuse another precision than the graph's own; say it where none was asked for."""
    if compute.precision not in ("fp32", graph.precision):
        raise BadInput(
            f"{name} computes in {graph.precision}, as it was exported.",
            hint="Leave --precision out; or export it in another precision.",
            key="precision",
            expected=graph.precision,
            found=compute.precision,
        )
    return [] if graph.precision == "fp32" else [f"{name} computes in {graph.precision}, as it was exported"]
