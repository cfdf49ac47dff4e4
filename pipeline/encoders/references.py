"""What a library computes by itself for an image: its own transform and its own forward pass, without our wrappers.

Written against each library's documentation, and nothing of the families' own modules is used but where files are, so
that `check` compares two things. A further family adds a row to `REFERENCES`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image

from ..specs import EncoderSpec
from .families import ModelName, parse_name
from .hf_files import ModelFiles, quiet


class Reference(NamedTuple):
    """How a library encodes images.

    Parameters
    ----------
    call : str
        In words, for a reader.
    preprocess : callable
        From an image to a tensor [3, h, w].
    encode : callable
        From a batch to embeddings [n, d], which the default tap is to equal.
    """

    call: str
    preprocess: Callable[[Image.Image], torch.Tensor]
    encode: Callable[[torch.Tensor], torch.Tensor]


State = Mapping[str, torch.Tensor]
Preprocess = Callable[[Image.Image], torch.Tensor]


def timm_reference(
    named: ModelName, spec: EncoderSpec, state: State | None, preprocess: str | None = None
) -> Reference:
    """Return timm's own way: a model without classifier, called; and its evaluation transform."""
    import timm
    import timm.data

    full_name = named.name.partition(":")[2]
    model: Any = timm.create_model(full_name, pretrained=state is None, num_classes=0)
    if state is not None:
        model.load_state_dict(state)
    library: Any = timm.data
    config = library.resolve_model_data_config(model)
    transform = library.create_transform(**config, is_training=False)
    return Reference(
        f"timm.create_model({full_name!r}, num_classes=0)(x), timm.data.create_transform after convert('RGB')",
        lambda image: transform(image.convert("RGB")),  # as timm's ImageDataset opens files
        model.eval(),
    )


def quickstart_reference(
    named: ModelName, spec: EncoderSpec, state: State | None, preprocess: str | None = None
) -> Reference:
    """Return timm's own way for the architecture of the quickstart encoder."""
    return timm_reference(ModelName("timm", spec.architecture), spec, state)


def open_clip_reference(
    named: ModelName, spec: EncoderSpec, state: State | None, preprocess: str | None = None
) -> Reference:
    """Return open_clip's own way: `create_model_and_transforms` and `encode_image`.

    The architecture is that of the identity: where the weights ask for QuickGELU, its name says so.
    """
    import open_clip

    library: Any = open_clip
    tag = named.tag if state is None else None
    model, _, transform = library.create_model_and_transforms(spec.architecture, pretrained=tag, pretrained_hf=False)
    if state is not None:
        model.visual.load_state_dict(state)
    return Reference(
        f"open_clip.create_model_and_transforms({spec.architecture!r}, {tag!r}), encode_image(x, normalize=False)",
        transform,
        partial(model.eval().encode_image, normalize=False),  # CoCa's normalises by default
    )


def hf_reference(named: ModelName, spec: EncoderSpec, state: State | None, preprocess: str | None = None) -> Reference:
    """Return transformers' own way: `AutoModel` in float32, and `AutoImageProcessor` unless another is named.

    Of a model whose pooler has no weights, the tap ``pooled`` is the class token, or without one the mean of the last
    layer's outputs.
    """
    import transformers

    folder = ModelFiles.of(named.name, named.architecture).folder
    config: Any = transformers.AutoConfig.from_pretrained(folder, trust_remote_code=False)
    # What `AutoModel` makes of this configuration has no projection.
    projects = config.model_type == "clip_vision_model" and spec.tap == "post_projection"
    cls: Any = transformers.CLIPVisionModelWithProjection if projects else transformers.AutoModel
    missing: set[str] = set()
    with quiet():
        if state is None:
            asked = {"dtype": torch.float32, "output_loading_info": True, "trust_remote_code": False}
            model, told = cls.from_pretrained(folder, **asked)
            missing = set(told["missing_keys"])
        else:
            model = cls(config) if projects else cls.from_config(config, dtype=torch.float32)
            _fill(model, state)
    model.eval()
    is_pooled = not any(".pooler." in f".{key}" for key in missing)

    def encode(x: torch.Tensor) -> Any:
        if hasattr(model, "get_image_features"):
            return model.get_image_features(pixel_values=x).pooler_output
        found = model(pixel_values=x)
        if projects:
            return found.image_embeds
        if is_pooled and getattr(found, "pooler_output", None) is not None:
            return found.pooler_output.flatten(1)
        tokens = found.last_hidden_state
        if getattr(model.embeddings, "cls_token", None) is not None:
            return tokens[:, 0]
        return tokens.mean(dim=1 if tokens.ndim == 3 else (2, 3))

    prepared, transform = transform_of(preprocess or named.name)
    return Reference(
        f"transformers.{cls.__name__}.from_pretrained({named.architecture!r}), {prepared}", transform, encode
    )


def _fill(model: Any, state: State) -> None:
    """Give a model the weights of its image tower, whose names begin in the model or in its `vision_model`."""
    is_whole = state.keys() <= model.state_dict().keys()
    (model if is_whole else model.vision_model).load_state_dict(state, strict=not is_whole)


def onnx_reference(
    named: ModelName, spec: EncoderSpec, state: State | None, preprocess: str | None = None
) -> Reference:
    """Return onnxruntime's own way: a session of the file, and the preprocessing that is named or lies beside it."""
    import onnxruntime

    path = Path(named.architecture).expanduser().absolute()
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (first,) = session.get_inputs()
    kind = {"tensor(float16)": np.float16, "tensor(double)": np.float64}.get(first.type, np.float32)
    at_once = first.shape[0] if isinstance(first.shape[0], int) else None
    outputs = [output.name for output in session.get_outputs()]
    output, reading = (spec.tap, "") if spec.tap in outputs else spec.tap.rsplit(":", 1)

    def run(images: Any) -> Any:
        images = images.transpose(0, 2, 3, 1) if first.shape[1] != 3 else images
        return session.run([output], {first.name: images.astype(kind)})[0]

    def encode(x: torch.Tensor) -> torch.Tensor:
        images = x.numpy()
        if at_once is None:
            found = run(images)
        else:  # a graph for a fixed number of images gets each one so many times
            found = np.stack([run(np.repeat(image[None], at_once, axis=0))[0] for image in images])
        if reading == "cls":
            found = found[:, 0]
        elif reading == "mean":
            found = found.mean(axis=1 if found.ndim == 3 else (2, 3))
        return torch.from_numpy(found.reshape(len(found), -1).astype(np.float32))

    prepared, transform = transform_of(preprocess or str(path.parent / "preprocessor_config.json"))
    return Reference(f"onnxruntime.InferenceSession({path.name!r}).run, {prepared}", transform, encode)


def transform_of(what: str) -> tuple[str, Preprocess]:
    """Return how a library prepares images, in words and as a function.

    Parameters
    ----------
    what : str
        The name of a model of timm, open_clip or transformers, or the absolute path of a processor's settings.
    """
    named = None if Path(what).is_absolute() else parse_name(what)
    if named is not None and named.family == "timm":
        import timm
        import timm.data

        library: Any = timm.data
        known: Any = timm.get_pretrained_cfg(what.partition(":")[2])
        timms = library.create_transform(**library.resolve_data_config(pretrained_cfg=known.to_dict()))
        return f"timm.data.create_transform of {what} after convert('RGB')", lambda image: timms(image.convert("RGB"))
    if named is not None and named.family == "open_clip":
        import open_clip

        # What create_model_and_transforms does, which fetches the weights first.
        steps: Any = open_clip.transform
        side = open_clip.get_model_config(named.architecture)["vision_cfg"].get("image_size", 224)
        published = open_clip.get_pretrained_cfg(named.architecture, named.tag)
        config = {**steps.merge_preprocess_dict(asdict(steps.PreprocessCfg()), published), "size": side}
        made = steps.image_transform_v2(steps.PreprocessCfg(**config), is_train=False)
        return f"open_clip.image_transform_v2 with the settings of {what}", made
    from transformers import AutoImageProcessor

    if named is not None:
        files = ModelFiles.of(what, named.architecture)
        files.fetch_processor()
        what = str(files.folder)
    processor: Any = AutoImageProcessor.from_pretrained(what, trust_remote_code=False, local_files_only=True)
    converts = processor.to_dict().get("do_convert_rgb")

    def call(image: Image.Image) -> torch.Tensor:
        given = image if converts else image.convert("RGB")
        found: torch.Tensor = processor(given, return_tensors="pt")["pixel_values"][0]
        return found

    return "transformers.AutoImageProcessor" + ("" if converts else " after convert('RGB')"), call


REFERENCES: Mapping[str, Callable[[ModelName, EncoderSpec, State | None, str | None], Reference]] = MappingProxyType(
    {
        "timm": timm_reference,
        "open_clip": open_clip_reference,
        "quickstart": quickstart_reference,
        "hf": hf_reference,
        "onnx": onnx_reference,
    }
)
"""By family. The state dict is that of our model, for weights that nobody else has; None for published ones. The text
is what `--preprocess` names, of families that take it."""
