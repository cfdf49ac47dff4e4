"""Encoders from timm: the model without its classifier, its weights read safely, and timm's evaluation transform."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch

from ...errors import BadInput
from ..encoders import hub
from ..specs import EncoderSpec, Tap
from .anatomy import timm_anatomy
from .checkpoint import read_checkpoint
from .families import EncoderRequest, ModelName
from .frozen import (
    FrozenEncoder,
    building,
    check_image_size,
    size_refused,
)
from .module_taps import tapped
from .parts import Model, load_part
from .timm_preprocessing import prepared
from .tokens import TokenReader
from .unknown_names import no_weights, unknown
from .weights import weights_digest

_ASKING = threading.Lock()


def names() -> Iterable[ModelName]:
    """List what can be named: published weights, then the architectures that have none."""
    import timm

    tagged = [name.partition(".") for name in timm.list_pretrained()]
    yield from (ModelName("timm", architecture, tag or None, True) for architecture, _, tag in tagged)
    bare = set(timm.list_models()) - {architecture for architecture, _, _ in tagged}
    yield from (ModelName("timm", architecture) for architecture in sorted(bare))


def check(named: ModelName, *, need_weights: bool) -> None:
    """Refuse names that timm does not know; see `families.FamilyModule`."""
    import timm

    if not timm.is_model(named.architecture):
        unknown(named.name, named.architecture, timm.list_models(), "timm:")
    tags = [name.partition(".")[2] for name in timm.list_pretrained(f"{named.architecture}.*")]
    try:
        config = timm.get_pretrained_cfg(named.name.removeprefix("timm:"))
    except RuntimeError:  # how timm says that it does not know the tag
        config = None
    if named.tag and config is None:
        unknown(named.name, named.tag, tags, f"timm:{named.architecture}.")
    if need_weights and (config is None or not config.has_weights):
        no_weights(named, tags)


def load(asked: EncoderRequest) -> FrozenEncoder:
    """Load a timm model; see `registry.load_encoder`, which checks the names first.

    A tag gives the preprocessing with which its weights were trained. With a checkpoint, the tag's own weights are not
    fetched. A classifier in the checkpoint is left out, and is no part of the identity.
    """
    import timm

    name, architecture = asked.name, asked.architecture
    full_name = f"{architecture}.{asked.tag}" if asked.tag else architecture
    path, key = asked.checkpoint or (None, None)
    if path is None and asked.seed is None:
        path = hub.fetch(_source(timm.get_pretrained_cfg(full_name)), name, f"timm:{architecture}")
    read = None if path is None else read_checkpoint(path)
    notes: list[str] = []
    with building(asked.seed or 0):
        model, recipe = _build(name, full_name, asked.pixels.side)
        if read is not None and path is not None:
            taker = Model(model, _preparing(model, recipe, architecture), not recipe.strict, not recipe.strict)
            published = asked.checkpoint is None
            part = load_part(read.tensors, taker, name if published else str(path), key=key, published=published)
            notes = part.notes(path.name)
    return freeze(model, asked, None if asked.checkpoint is None or read is None else read.sha256, notes)


def freeze(
    model: Any, asked: EncoderRequest, checkpoint_sha256: str | None = None, notes: Sequence[str] = ()
) -> FrozenEncoder:
    """Make an encoder of a timm model that has its weights and no classifier."""
    import timm

    data: Any = timm.data
    name, pixels = asked.name, asked.pixels
    args = {} if pixels.side is None else {"input_size": (3, pixels.side, pixels.side)}
    config: dict[str, Any] = data.resolve_model_data_config(model, args=args)
    if config["input_size"][0] != 3:
        raise BadInput(f"{name} takes images of {config['input_size'][0]} channels, not RGB.", key=name)
    transform, preprocessing = prepared(config, pixels, name)
    tower = TimmTower(model)
    if pixels.side is not None:
        model.eval()
        check_image_size(tower, name, preprocessing.image_size or (0, 0))
    reader, chosen, said = tapped(tower, asked.taps, "pooled", name, preprocessing.image_size or (0, 0))
    return FrozenEncoder(
        name=name,
        tower=reader,
        taps=chosen,
        transform=transform,
        identity=EncoderSpec(
            family="timm",
            architecture=asked.architecture,
            weights=weights_digest(model.state_dict()),
            preprocessing=preprocessing,
            tap=chosen[0],
        ),
        compute=asked.compute,
        seed=asked.seed,
        checkpoint_sha256=checkpoint_sha256,
        notes=[*notes, *said],
    )


class TimmTower:
    """A timm model without classifier."""

    def __init__(self, model: Any) -> None:
        self.module: torch.nn.Module = model
        self._tokens = TokenReader(model)
        self.taps: Mapping[Tap, str | None] = {"pooled": None, **self._tokens.taps}
        self.anatomy = timm_anatomy(model, self._tokens)

    def read(self, x: torch.Tensor, taps: Collection[Tap]) -> dict[Tap, torch.Tensor]:
        """Run the model once; see `frozen.Tower`."""
        model: Any = self.module
        features = model.forward_features(x)
        out = self._tokens.read(features, taps)
        if "pooled" in taps:
            out["pooled"] = model.forward_head(features, pre_logits=True)
        return out


@dataclass(frozen=True)
class _Recipe:
    """How timm loads weights into a model: its filter for foreign key layouts, and whether it insists on all keys."""

    filter: Callable[..., dict[str, torch.Tensor]] | None = None
    strict: bool = True


def _build(name: str, full_name: str, image_size: int | None, **kwargs: Any) -> tuple[Any, _Recipe]:
    """Build a model without classifier and with random weights, and learn timm's recipe for loading real ones.

    timm keeps the filter of each architecture to itself and hands it to ``load_pretrained``; with ``num_classes=0``
    that function then ignores missing and left-over keys. So timm is stopped at that call, and the loading is done
    here, strictly.
    """
    import timm

    recipes = [_Recipe()]
    config = timm.get_pretrained_cfg(full_name)
    if image_size is not None and config is not None and config.fixed_input_size:
        kwargs["img_size"] = image_size
    try:
        with _loading_noted(recipes):
            model = timm.create_model(full_name, pretrained=True, num_classes=0, **kwargs)
    except Exception as error:  # each model refuses in its own way
        if image_size is not None:
            raise size_refused(name, image_size, error) from error
        raise BadInput(f"timm cannot build {name}: {error}", key=name) from error
    return model, recipes[-1]


@contextmanager
def _loading_noted(recipes: list[_Recipe]) -> Iterator[None]:
    from timm.models import _builder

    def note(*args: Any, filter_fn: Any = None, strict: bool = True, **kwargs: Any) -> None:
        recipes.append(_Recipe(filter_fn, strict))

    with _ASKING:
        kept = _builder.load_pretrained
        _builder.load_pretrained = note
        try:
            yield
        finally:
            _builder.load_pretrained = kept


def _preparing(
    model: Any, recipe: _Recipe, architecture: str
) -> Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]:
    """Return what brings a state dict to the model's keys, without a classifier; see `parts.Model`."""
    own = model.state_dict().keys()
    named = model.pretrained_cfg.get("classifier") or ()
    below = tuple(f"{name}." for name in ([named] if isinstance(named, str) else named))

    def prepare(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        if recipe.filter is not None:
            with suppress(Exception):  # another model's tensors: `parts` tells what does not fit
                state = _filtered(recipe.filter, dict(state), model)
        if state.keys() <= own:
            return state
        classifier = _keys_with_classifier(architecture) - own
        return {k: v for k, v in state.items() if k in own or not (k in classifier or k.startswith(below))}

    return prepare


def _filtered(
    filter_fn: Callable[..., dict[str, torch.Tensor]], state: dict[str, torch.Tensor], model: Any
) -> dict[str, torch.Tensor]:
    try:
        return filter_fn(state, model)
    except TypeError:  # timm has filters of one argument too
        return filter_fn(state)


@cache
def _keys_with_classifier(architecture: str) -> frozenset[str]:
    import timm

    with torch.device("meta"):
        return frozenset(timm.create_model(architecture, pretrained=False).state_dict())


def _source(config: Any) -> hub.Source:
    if config.hf_hub_id:
        names = hub.hub_filenames(
            "pytorch_model.bin", ("model.safetensors", "pytorch_model.safetensors"), config.hf_hub_filename or ""
        )
        return hub.Source(repo=config.hf_hub_id, filenames=names)
    return hub.Source(url=config.url if isinstance(config.url, str) else config.url[0])
