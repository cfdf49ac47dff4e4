"""Probe files: written whole or not at all, and read without trust."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import ValidationError

from ...canonical import digest
from ...errors import BadInput, CryoprobeError, NotFound
from ...files import replacing
from ..tasks import task_named
from .from_estimator import ProbeTensors, tensors_of
from .header import EncoderRecord, ProbeHeader, damaged, numbers, parse_header, tensors_digest
from .saved_probe import SavedProbe, misfit

METADATA_KEY = "cryoprobe"
"""Under which a safetensors file keeps the header."""

_TOLERANCE = 1e-6


def save_probe(
    path: str | Path,
    estimator: Any,
    *,
    encoder: Mapping[str, Any],
    classes: list[str] | tuple[str, ...],
    multilabel: bool,
    features: Literal["unit", "raw"] = "unit",
    trial: Mapping[str, Any] | None = None,
) -> ProbeHeader:
    """Save a fitted estimator, replacing a file of that name.

    Parameters
    ----------
    path : str or Path
    estimator : object
        Fitted on labels that are places in `classes`, int [n], or on flags [n, C]. See `check_savable`.
    encoder : mapping
        The spec of the encoder of its features: ``feature_set.manifest.encoder``.
    classes : sequence of str
        Class names; those that the estimator has not seen are left out of the file.
    multilabel : bool
        Whether it was fitted on flags.
    features : {"unit", "raw"}
        Whether it was fitted on embeddings of unit norm, or as the encoder gave them.
    trial : mapping, optional
        The trial in which it was trained, as `probe` returns it. ``name`` in it says how to load the encoder.

    Returns
    -------
    ProbeHeader
        What the file says of itself.

    Raises
    ------
    BadInput
        If the estimator cannot be saved, or the folder is missing.
    ReadOnly, Unavailable
        If the file cannot be written.
    """
    from safetensors.numpy import save

    parts = tensors_of(estimator, task_named(multilabel=multilabel))
    tensors = {name: _plain(tensor) for name, tensor in parts.all_tensors().items()}
    known = parts.classes
    if known.dtype.kind not in "iu" or len(known) == 0 or known.min() < 0 or known.max() >= len(classes):
        raise BadInput(
            "The estimator was not fitted on places in the list of classes.",
            hint="Fit it on labels from 0 to the number of classes less 1.",
            expected=len(classes),
            found=known.tolist(),
        )
    told = dict(trial or {})
    try:
        header = ProbeHeader(
            kind=parts.kind,
            dim=tensors["rows" if parts.kind == "knn" else _first_weight(tensors)].shape[1],
            features=features,
            before=tuple(step for step, _ in parts.before),
            classes=tuple(classes[int(i)] for i in known),
            multilabel=multilabel,
            probability=parts.probability,
            neighbours=parts.neighbours,
            encoder=EncoderRecord(id=digest(dict(encoder)), spec=dict(encoder), name=told.get("name") or None),
            tensors=tensors_digest(tensors),
            metrics=numbers(told.get("metrics", {})),
            created=told.get("created", time.time_ns() // 1_000_000),
            **{key: told[key] for key in _TOLD if told.get(key) is not None},
        )
    except ValidationError as e:
        first = e.errors()[0]
        raise BadInput(f"The probe cannot be described: {'.'.join(map(str, first['loc']))}: {first['msg']}.") from None
    if (wrong := misfit(header, tensors)) is not None:
        raise BadInput(f"{type(estimator).__name__} cannot be saved: {wrong}.", hint="Change the probe's parameters.")
    _check_agreement(SavedProbe(header, tensors), parts, estimator)
    with replacing(path) as file:
        file.write(save(tensors, metadata={METADATA_KEY: header.dump()}))
    return header


def load_probe(path: str | Path) -> SavedProbe:
    """Read a probe that `save_probe` wrote; nothing is unpickled.

    Raises
    ------
    NotFound
        If there is no such file.
    BadInput
        If it is something else.
    Incompatible
        If a newer version of Cryoprobe wrote it.
    Corrupt
        If it is not what was written.
    """
    from safetensors import SafetensorError, safe_open

    name = str(path)
    if "\0" in name or not Path(path).is_file():
        raise NotFound(f"There is no probe file {name}.", hint="Check the path.", key=name)
    try:
        with safe_open(path, framework="numpy") as file:
            text = (file.metadata() or {}).get(METADATA_KEY)
            if text is None:
                raise BadInput(
                    f"{name} is a safetensors file, but not a probe of Cryoprobe.",
                    hint="Make one: cryoprobe probe … --save FILE",
                    key=name,
                )
            header = parse_header(text, name)
            tensors = {key: file.get_tensor(key) for key in list(file.keys())}
    except (SafetensorError, OSError, ValueError, TypeError, KeyError, AttributeError) as e:
        if isinstance(e, CryoprobeError):
            raise
        raise BadInput(
            f"{name} is incomplete or is not a probe file ({str(e).strip() or type(e).__name__}).",
            hint="Copy it again, or make one: cryoprobe probe … --save FILE",
            key=name,
        ) from e
    probe = SavedProbe(header, tensors, name)
    if tensors_digest(tensors) != header.tensors:
        raise damaged(name, "its tensors are not those that its header names")
    return probe


_TOLD = ("protocol", "probe", "params", "chosen", "dataset", "train", "test", "trial", "rows", "versions")
"""What a header takes over from the trial."""


def _first_weight(tensors: Mapping[str, Any]) -> str:
    return "hidden.weight" if "hidden.weight" in tensors else "weight"


def _plain(tensor: Any) -> Any:
    """Return a tensor as safetensors takes it: contiguous, little-endian; other floats as float64."""
    tensor = np.asarray(tensor)
    if tensor.dtype.kind == "f" and tensor.dtype != np.float32:
        tensor = tensor.astype(np.float64)
    return np.ascontiguousarray(tensor, tensor.dtype.newbyteorder("<"))


def _check_agreement(saved: SavedProbe, parts: ProbeTensors, estimator: Any) -> None:
    """Refuse to save what would not predict as the estimator does, on some rows of unit norm.

    In float64, so that a difference is one of formulas and not of rounding.
    """
    x = np.random.default_rng(0).standard_normal((32, saved.header.dim))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    if parts.probability is not None:
        found, expected = saved.outputs(x)[1], np.asarray(estimator.predict_proba(x))
        allowed = _TOLERANCE
    else:
        found, expected = saved.raw_outputs(x), np.asarray(estimator.decision_function(x))
        if expected.ndim == 1:
            found = found[:, 0] if found.shape[1] == 1 else found[:, 1] - found[:, 0]
        elif saved.header.task.exclusive and found.shape == expected.shape:
            # What all classes share says nothing, and the nearest mean leaves |x|²/2 out.
            found, expected = (scores - scores.mean(axis=1, keepdims=True) for scores in (found, expected))
        allowed = _TOLERANCE * max(1.0, float(np.abs(expected).max()))
    if found.shape != expected.shape or not np.abs(found - expected).max() <= allowed:
        raise BadInput(
            f"{type(estimator).__name__} cannot be saved: it does not compute what its weights say.",
            hint="Take another probe; `cryoprobe probes` lists them.",
            key=type(estimator).__name__,
        )
