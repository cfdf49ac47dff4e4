"""`--preprocess`: images prepared as for another model, or as a ``preprocessor_config.json`` says."""

from __future__ import annotations

from pathlib import Path

from ...errors import BadInput, NotFound
from ..options import PixelOptions
from ..specs import Preprocessing
from .families import parse_name
from .transforms import ImageTransform


def prepared_as(what: str, pixels: PixelOptions, name: str) -> tuple[ImageTransform, Preprocessing]:
    """Return the preprocessing that is named, with what is asked for otherwise; no weights are looked at.

    Parameters
    ----------
    what : str
        ``timm:NAME``, ``open_clip:ARCH/TAG``, ``hf:OWNER/NAME``, or the path of a ``preprocessor_config.json``.
    pixels : PixelOptions
    name : str
        Of the encoder for which it is, for messages.

    Raises
    ------
    BadInput, NotFound
        If there is no such model or file, or it has no preprocessing.
    """
    path = Path(what)
    if path.is_absolute():
        if not path.is_file():
            raise NotFound(f"There is no file {what}.", hint="Check the path.", key="preprocess")
        return _of_processor(path, None, pixels, name)
    try:
        named = parse_name(what)
    except BadInput as error:
        raise BadInput(
            f"--preprocess {what} names neither a model nor a file.",
            hint="Such as timm:vit_small_patch14_dinov2, open_clip:ViT-B-32/openai, hf:facebook/dinov2-small or "
            "./preprocessor_config.json.",
            key="preprocess",
        ) from error
    if named.family == "timm":
        from . import timm_encoder, timm_preprocessing

        timm_encoder.check(named, need_weights=False)
        return timm_preprocessing.of_model(named, pixels, name)
    if named.family == "open_clip":
        from . import open_clip_encoder

        open_clip_encoder.check(named, need_weights=True)
        return open_clip_encoder.preprocessing_of(named, pixels, name)
    if named.family == "hf":
        from . import hf_encoder
        from .hf_files import ModelFiles

        hf_encoder.check(named, need_weights=False)
        files = ModelFiles.of(what, named.architecture)
        files.fetch_processor()
        return _of_processor(files.folder, hf_encoder.config_of(files), pixels, name)
    raise BadInput(
        f"--preprocess {what}: encoders of {named.family} have no preprocessing that others could take.",
        hint="Name a model of timm, open_clip or the hub.",
        key="preprocess",
    )


def beside(folder: Path, pixels: PixelOptions, name: str) -> tuple[ImageTransform, Preprocessing] | None:
    """Return the preprocessing that a ``preprocessor_config.json`` in a folder tells; None if there is none."""
    file = folder / "preprocessor_config.json"
    return _of_processor(file, None, pixels, name) if file.is_file() else None


def _of_processor(place: Path, config: object, pixels: PixelOptions, name: str) -> tuple[ImageTransform, Preprocessing]:
    try:
        import transformers  # noqa: F401
    except ImportError as error:
        raise NotFound(
            f"{place} is read by the package transformers, which is not installed.",
            hint="pip install 'cryoprobe[hf]'; or take the preprocessing of a model of timm: --preprocess timm:NAME",
            key="preprocess",
        ) from error
    from .hf_processor import load_processor, prepared

    return prepared(load_processor(place, config, name), pixels, name)
