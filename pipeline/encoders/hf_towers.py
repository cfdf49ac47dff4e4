"""Which transformers models are image encoders, how they are built, and where their taps are."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping
from typing import Any

import torch

from ...canonical import canonical_json
from ...errors import BadInput
from ..specs import Tap
from .anatomy import Anatomy

_WITH_CLS: dict[str, Callable[[Any], int]] = {
    **dict.fromkeys(("vit", "vit_msn", "dinov2", "beit", "data2vec-vision", "clip_vision_model"), lambda config: 1),
    **dict.fromkeys(("metaclip_2_vision_model",), lambda config: 1),
    "deit": lambda config: 2,  # a token of distillation follows
    **dict.fromkeys(("dinov2_with_registers", "dinov3_vit"), lambda config: 1 + config.num_register_tokens),
}
"""Models with a class token in front of a plain sequence of patch tokens: how many tokens are not patches."""

_STAGED = ("swin", "swinv2")
"""Models of patch tokens whose number becomes smaller from stage to stage."""

_WITHOUT_CLS = ("siglip_vision_model", "ijepa", *_STAGED)

_TOWERS = {
    "clip": ("CLIPVisionModelWithProjection", "vision_config"),
    "metaclip_2": ("MetaClip2VisionModelWithProjection", "vision_config"),
    "siglip": ("SiglipVisionModel", "vision_config"),
    "siglip_vision_model": ("SiglipVisionModel", ""),
}
"""Of models with a text tower, or that have one: the class of the image tower alone, and where its settings are."""

_VISION_TYPES = ("clip_vision_model", "siglip_vision_model", "dinov3_vit", "dinov3_convnext")

_OTHER = {
    "siglip2": "NaFlex models take patches of images of any size, which no fixed preprocessing gives",
    "siglip2_vision_model": "NaFlex models take patches of images of any size, which no fixed preprocessing gives",
    "timm_wrapper": "it is one of timm's models: name it as timm:NAME.TAG, or give its file with --checkpoint",
    "vit_mae": "it masks three quarters of an image at random",
    "imagegpt": "it takes no pixels, but clusters of colours",
    "perceiver": "it takes more than images",
}

_TRAINING = ("dropout", "drop_path", "drop_rate", "initializer", "layerdrop", "label", "loss", "mask_ratio")
"""Settings with these in their names count in training alone."""
_ELSEWHERE = {
    *("architectures", "transformers_version", "_name_or_path", "dtype", "torch_dtype", "problem_type", "auto_map"),
    *("out_features", "out_indices", "_out_features", "_out_indices", "stage_names", "encoder_stride", "use_cache"),
    *("return_dict", "output_attentions", "output_hidden_states", "is_encoder_decoder", "tie_word_embeddings"),
    *("chunk_size_feed_forward", "_attn_implementation", "_commit_hash", "num_labels", "is_decoder"),
}


def class_of(config: Any, name: str) -> tuple[Any, Any]:
    """Return the class of a model's image encoder, and its part of the configuration.

    Raises
    ------
    BadInput
        If it is no image encoder, or none that can be read here.
    """
    import transformers
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES, MODEL_MAPPING

    kind = config.model_type
    if kind == "clip_vision_model" and "CLIPVisionModelWithProjection" in (config.architectures or ()):
        return transformers.CLIPVisionModelWithProjection, config
    if kind in _TOWERS:
        cls, inner = _TOWERS[kind]
        part = getattr(config, inner) if inner else config
        if kind in ("clip", "metaclip_2"):
            part.projection_dim = config.projection_dim
        return getattr(transformers, cls), part
    images = kind in _VISION_TYPES or kind in MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES
    if kind in _OTHER or not images or type(config) not in MODEL_MAPPING:
        why = _OTHER.get(kind, "Cryoprobe knows no image encoder of that kind")
        raise BadInput(
            f"{name} is a {kind} model of transformers: {why}.",
            hint="Wrap it: cryoprobe.Encoder(module, preprocess, name=…, version=…).",
            key=name,
            found=kind,
        )
    return MODEL_MAPPING[type(config)], config


def architecture_of(model: Any) -> str:
    """Return the class of a model and all settings that are not its class's own and change what it computes.

    They are part of the identity, since weights do not tell them: how many heads, which activation.
    """
    own = type(model.config)().to_dict()
    found = model.config.to_dict()
    other = {
        key: value
        for key, value in found.items()
        if key not in _ELSEWHERE and not any(word in key for word in _TRAINING) and value != own.get(key)
    }
    return f"{type(model).__name__} {canonical_json(other).decode()}"


class HfTower:
    """An image encoder of transformers.

    Parameters
    ----------
    model : PreTrainedModel
    other_size : bool
        Whether images are not of the size that it was made for, so that its positions are interpolated.
    """

    def __init__(self, model: Any, *, other_size: bool = False) -> None:
        self.module: torch.nn.Module = model
        kind = model.config.model_type
        takes = inspect.signature(model.forward).parameters
        self._more = {"interpolate_pos_encoding": True} if other_size and "interpolate_pos_encoding" in takes else {}
        self._prefix = _WITH_CLS[kind](model.config) if kind in _WITH_CLS else 0
        self._projects = hasattr(model, "visual_projection")
        self._final, self._norm = _norms_of_tokens(model)
        self._unpooled = False
        cls = None if kind in _WITH_CLS else "it has no class token"
        patches = None if kind in (*_WITH_CLS, *_WITHOUT_CLS) else "it has no plain sequence of patch tokens"
        self.taps: Mapping[Tap, str | None] = {**self._of_whole(kind), "cls": cls, "patch_mean": patches}
        blocks = () if patches is not None or kind in _STAGED else _blocks_of(model)
        self.anatomy = Anatomy(
            prefix=self._prefix if patches is None else None,
            has_cls=cls is None,
            blocks=blocks,
            norm=self.norm,
            final=blocks[-1] if blocks else "",
        )

    def norm(self, tokens: torch.Tensor) -> torch.Tensor:
        """Apply to the output of a block, [n, width] or [n, tokens, width], what is applied to that of the last one."""
        normed: torch.Tensor = self._norm.forward(self._final.forward(tokens))
        return normed

    def _of_whole(self, kind: str) -> dict[Tap, str | None]:
        if self._projects:
            return {"post_projection": None, "pre_projection": None}
        if kind == "siglip_vision_model":
            return {"post_projection": None, "pre_projection": "it has no projection"}
        return {"pooled": None}

    @property
    def default(self) -> Tap:
        """Where it is read if nothing else is said."""
        return next(iter(self.taps))

    def read(self, x: torch.Tensor, taps: Collection[Tap]) -> dict[Tap, torch.Tensor]:
        """Run the model once; see `frozen.Tower`."""
        model: Any = self.module
        if self._projects:
            inner = model.vision_model(pixel_values=x, **self._more)
            pooled, tokens = inner.pooler_output, inner.last_hidden_state
            out = {"pre_projection": pooled, "post_projection": model.visual_projection(pooled)}
        else:
            whole = model(pixel_values=x, **self._more)
            tokens = whole.last_hidden_state
            pooled = getattr(whole, "pooler_output", None)
            self._unpooled = pooled is None
            out = {self.default: self._pooled(tokens) if pooled is None else pooled.flatten(1)}
        # By `forward`, which hooks do not see: to them the model runs once (see `module_taps`).
        if "cls" in taps:
            out["cls"] = self._norm.forward(tokens[:, 0])
        if "patch_mean" in taps:
            out["patch_mean"] = self._norm.forward(tokens[:, self._prefix :]).mean(dim=1)
        return out

    def _pooled(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return what stands for the whole image where the model has no pooler; see `pooling_note`."""
        if self._prefix:
            return self._norm.forward(tokens[:, 0])  # type: ignore[no-any-return]
        return tokens.mean(dim=1) if tokens.ndim == 3 else tokens.mean(dim=(2, 3))

    def pooling_note(self) -> str | None:
        """Say what `pooled` is, if the model has turned out to have no pooler of its own."""
        if not self._unpooled:
            return None
        what = "the class token after the final norm" if self._prefix else "the mean of the last layer's outputs"
        return f"{type(self.module).__name__} has no trained pooler: the tap pooled is {what}"


def _norms_of_tokens(model: Any) -> tuple[Any, Any]:
    """Return the norm that a model applies to the tokens of its last block, and the one that its tokens come without.

    The second is CLIP's norm before the projection, and that of a BEiT whose patches are averaged.
    """
    inner, identity = getattr(model, "vision_model", model), torch.nn.Identity()
    if model.config.model_type in ("clip_vision_model", "metaclip_2_vision_model"):
        return identity, inner.post_layernorm
    names = ("layernorm", "norm", "post_layernorm")
    final = next((found for name in names if (found := getattr(inner, name, None)) is not None), identity)
    averaged = getattr(getattr(model, "pooler", None), "layernorm", None)
    if model.config.model_type in ("beit", "data2vec-vision") and averaged is not None:
        return final, averaged
    return final, identity


def _blocks_of(model: Any) -> tuple[str, ...]:
    """Return the names of a transformer's blocks, first to last: the list that is as long as its settings say."""
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.ModuleList) and len(module) == model.config.num_hidden_layers:
            return tuple(f"{name}.{block}" for block, _ in module.named_children())
    return ()
