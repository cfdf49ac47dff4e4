"""The encoder of a saved probe: loaded by what the file says of it, and compared by its id."""

from __future__ import annotations

from contextlib import suppress

from ..errors import BadInput, Conflict
from .encoders import load_encoder
from .encoders.base import Encoder
from .encoders.checkpoint import CheckpointFile
from .encoders.resizing import pixels_described, pixels_of
from .extraction.differences import differences
from .joined_taps import taps_in
from .options import PixelArguments
from .saved.header import EncoderRecord
from .specs import ADDED, EncoderSpec, Tap


def encoder_of(
    wanted: EncoderRecord, model: str | Encoder | None, checkpoint: CheckpointFile | None, device: str
) -> tuple[Encoder, EncoderSpec]:
    """Return the encoder of a probe, and its identity at the probe's tap.

    Parameters
    ----------
    wanted : EncoderRecord
        What the probe's file says of it.
    model : str, Encoder or None
        Instead of the name in the file.
    checkpoint : CheckpointFile or None
    device : str

    Raises
    ------
    BadInput
        If it cannot be loaded.
    Conflict
        If it is another encoder.
    """
    try:
        spec = EncoderSpec.model_validate(wanted.spec)
    except ValueError as e:
        raise BadInput(
            f"This version of Cryoprobe cannot load the probe's encoder: {str(e).splitlines()[-1].strip()}",
            hint="Upgrade Cryoprobe: pip install -U cryoprobe",
        ) from None
    if spec.family == ADDED:
        raise BadInput(
            f"The probe was trained on embeddings called {spec.architecture}, which were added from a file: nothing "
            "here can encode images like them.",
            hint="Embed the images as those were, and predict in Python: cryoprobe.load_probe(FILE).predict(x)",
            key="encoder",
        )
    tap, dtype = spec.tap, spec.stored_dtype
    if model is None or isinstance(model, str):
        encoder = _load(wanted, spec, model, checkpoint, device)
    elif not set(taps_of(model, tap)) <= set(model.taps):
        raise Conflict(f"{model.name} is not read at the tap {tap}, as the probe's encoder is.", key=tap)
    else:
        encoder = model
    found = encoder.spec(tap, dtype)
    if found.id != wanted.id:
        why = ", ".join(differences(wanted.spec, found))
        raise Conflict(
            f"{encoder.name} is not the encoder that the probe was trained on: its id is {found.id[:12]}, not "
            f"{wanted.id[:12]}. They differ in {why}.",
            hint="Use the model and the checkpoint file that the features were extracted with.",
            key="encoder",
            expected=wanted.id,
            found=found.id,
        )
    return encoder, found


def _load(
    wanted: EncoderRecord, spec: EncoderSpec, model: str | None, checkpoint: CheckpointFile | None, device: str
) -> Encoder:
    name = wanted.name
    if model is None and name is None:
        raise BadInput("The probe file does not say how its encoder is called.", hint="Give --model NAME.", key="model")
    if name is not None and name.checkpoint is not None and checkpoint is None and model is None:
        raise BadInput(
            f"The weights of {name.model} came from a checkpoint file (sha256 {name.checkpoint[:12]}…).",
            hint="Give it again: --checkpoint FILE",
            key="checkpoint",
        )
    path, given = checkpoint or (None, None)
    # Another file with the same weights may not have the key of the first one. The id tells whether they are the same.
    keys = [given] if given or path is None or name is None else list(dict.fromkeys([name.checkpoint_key, None]))
    untrained = name is not None and name.untrained and checkpoint is None
    seed = name.seed if name is not None and name.seed is not None else 0

    def load(pixels: PixelArguments) -> Encoder:
        for key in keys[:-1]:
            with suppress(BadInput):
                return loaded(pixels, key)
        return loaded(pixels, keys[-1])

    def loaded(pixels: PixelArguments, key: str | None) -> Encoder:
        return load_encoder(
            model or (name.model if name is not None else ""),
            taps=taps_in(spec.tap),
            checkpoint=path,
            checkpoint_key=key,
            precision=spec.precision,
            untrained=untrained,
            seed=seed,
            device=device,
            **pixels,
        )

    encoder = load({} if name is None else pixels_of(name))
    found = encoder.spec(spec.tap, spec.stored_dtype).preprocessing
    for pixels in pixels_described(spec.preprocessing) if found != spec.preprocessing else ():
        # A name does not have the options of an encoder that a program had loaded. Where this one refuses them, it is
        # another one, and its id will tell.
        with suppress(BadInput):
            encoder = load(pixels)
            if encoder.spec(spec.tap, spec.stored_dtype).preprocessing == spec.preprocessing:
                break
    return encoder


def taps_of(encoder: Encoder, tap: Tap) -> list[Tap]:
    """Return the encoder's own taps that a probe's tap stands for."""
    return [tap] if tap in encoder.taps else taps_in(tap)


def encoder_ids(wanted: EncoderRecord) -> list[str]:
    """Return the ids of a probe's encoder at each of the taps that its tap stands for."""
    with suppress(ValueError):  # of a later version
        spec = EncoderSpec.model_validate(wanted.spec)
        if len(taps := taps_in(spec.tap)) > 1:
            return [spec.model_copy(update={"tap": tap}).id for tap in taps]
    return [wanted.id]
