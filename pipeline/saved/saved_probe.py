"""`SavedProbe`: the arithmetic of a trained probe, on NumPy arrays and without the estimator that it came from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from ...arrays import Array, Float64, Targets
from ...class_names import distinct
from ...errors import BadInput
from .header import ProbeHeader, damaged

Tensors = Mapping[str, Array]

_ROWS_AT_ONCE = 4096
"""Rows that are widened to float64 together."""

_FLOATS = (np.dtype(np.float32), np.dtype(np.float64))


class SavedProbe:
    """A trained probe as it was saved.

    Computes in float64, so that it agrees with the estimator that it came from as far as that one's own arithmetic
    allows; nearest neighbours are exact.

    Parameters
    ----------
    header : ProbeHeader
    tensors : mapping of str to ndarray
        As docs/trained-probes.md lists them for each kind.
    source : str
        Where they come from, for error messages.

    Raises
    ------
    Corrupt
        If a tensor is missing, superfluous, misshapen or not finite.

    Examples
    --------
    >>> probe = cryoprobe.load_probe("probe.safetensors")  # doctest: +SKIP
    >>> x, _ = store.open(probe.header.train).load(raw=probe.header.features == "raw")  # doctest: +SKIP
    >>> [probe.classes[i] for i in probe.predict(x)]  # doctest: +SKIP
    """

    def __init__(self, header: ProbeHeader, tensors: Tensors, source: str = "in memory") -> None:
        self.header = header
        self.tensors = dict(tensors)
        if (wrong := misfit(header, self.tensors)) is not None:
            raise damaged(source, wrong)
        self._source = source
        self._knn = _neighbours(header, self.tensors, source) if header.kind == "knn" else None

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes that can be predicted, K; of several of one name the second is ``name (2)``."""
        return tuple(distinct(self.header.classes))

    @property
    def measure(self) -> Literal["probability", "score"]:
        """What `outputs` has of every class."""
        return "score" if self.header.probability is None else "probability"

    def predict(self, x: Array) -> Targets:
        """Return labels of features [n, d]: int64 [n], places in `classes`; or uint8 [n, K] flags.

        Raises
        ------
        BadInput
            If `x` does not have the width that the probe was trained on, or is not finite.
        Corrupt
            If the weights are so large that the outputs are not finite.
        """
        return self.outputs(x)[0]

    def probabilities(self, x: Array) -> Float64 | None:
        """Return the probability of every class, float64 [n, K], or None for a probe that has only scores.

        Raises
        ------
        BadInput, Corrupt
            As `predict`.
        """
        return None if self.header.probability is None else self.outputs(x)[1]

    def outputs(self, x: Array) -> tuple[Targets, Float64]:
        """Return labels, as `predict`, and float64 [n, K] probabilities, or scores where there are none.

        Raises
        ------
        BadInput, Corrupt
            As `predict`.
        """
        if x.ndim != 2 or x.shape[1] != self.header.dim:
            raise BadInput(
                f"The probe reads features [n, {self.header.dim}], not {list(x.shape)}.",
                hint="Features must come from the encoder that it was trained on.",
                expected=self.header.dim,
                found=x.shape,
            )
        if not np.isfinite(x).all():
            raise BadInput("Some features are NaN or infinite.", hint="Check where they come from.")
        n, n_classes = len(x), len(self.classes)
        values = np.empty((n, n_classes))
        labels: Targets = np.empty(self.header.task.shape(n, n_classes), self.header.task.dtype)
        for start in range(0, n, _ROWS_AT_ONCE):
            block = slice(start, start + _ROWS_AT_ONCE)
            with np.errstate(over="ignore", invalid="ignore"):
                raw = self.raw_outputs(x[block])
                if not np.isfinite(raw).all():
                    raise damaged(self._source, "its weights are too large to compute with")
                labels[block] = self._labels(raw)
                values[block] = self._values(raw)
        return labels, values

    def raw_outputs(self, x: Array) -> Float64:
        """Return votes [n, K], or scores [n, R] before they become probabilities; R is 1 or 2 for two classes."""
        for i, step in enumerate(self.header.before):
            x = x.astype(np.float64)
            if step == "unit":
                length = np.sqrt(np.einsum("nd,nd->n", x, x))
                x /= np.where(length > 0, length, 1.0)[:, None]
            else:
                x = (x - self.tensors[f"before.{i}.mean"]) / self.tensors[f"before.{i}.scale"]
        if self._knn is not None:
            return np.asarray(self._knn.predict_proba(x), dtype=np.float64)
        x = x.astype(np.float64)
        if self.header.kind == "mlp":
            x = np.maximum(x @ self.tensors["hidden.weight"].T + self.tensors["hidden.intercept"], 0)
        return np.asarray(x @ self.tensors["weight"].T + self.tensors["intercept"], dtype=np.float64)

    def _labels(self, raw: Float64) -> Targets:
        if not self.header.task.exclusive:
            # Half of the weights of a softmax may add up to a little less than a half.
            return (raw > 0 if self._knn is None else raw >= 0.5 - 1e-12).astype(np.uint8)
        codes = raw.argmax(axis=1) if raw.shape[1] > 1 else raw[:, 0] > 0
        return codes.astype(np.int64)

    def _values(self, raw: Float64) -> Float64:
        how = self.header.probability
        if how == "votes":
            return raw
        if raw.shape[1] == 1 and self.header.task.exclusive:  # the margin of the second of two classes
            both = np.concatenate([-raw, raw], axis=1)
            return both if how is None else _sigmoid(both)
        if how == "softmax":
            p: Float64 = np.exp(raw - raw.max(axis=1, keepdims=True))
            p /= p.sum(axis=1, keepdims=True)
            return p
        if how is None:
            return raw
        p = _sigmoid(raw)
        if how == "normalised-sigmoid":
            p[p.sum(axis=1) == 0] = 1.0
            p /= p.sum(axis=1, keepdims=True)
        return p


def _sigmoid(z: Float64) -> Float64:
    p: Float64 = np.exp(-np.logaddexp(0, -z))
    return p


def misfit(header: ProbeHeader, tensors: Tensors) -> str | None:
    """Say what is wrong with the tensors of a probe; None where they fit its header."""
    d, k = header.dim, len(header.classes)
    shapes: dict[str, tuple[int | None, ...]] = {}  # None: any length
    for i, step in enumerate(header.before):
        if step == "standardise":
            shapes |= {f"before.{i}.mean": (d,), f"before.{i}.scale": (d,)}
    if header.kind == "knn":
        n = len(tensors["rows"]) if "rows" in tensors and tensors["rows"].ndim else None
        shapes |= {"rows": (n, d), header.task.targets: (n,) if header.task.exclusive else (n, k)}
    else:
        two = k == 2 and header.task.exclusive and "weight" in tensors and tensors["weight"].shape[:1] == (1,)
        if two and header.probability not in ("sigmoid", None):
            return f"one margin of two classes has no {header.probability}"
        if header.probability == "sigmoid" and not two and header.task.exclusive:
            return "a sigmoid needs flags, or one margin of two classes"
        outputs = 1 if two else k
        width: int | None = d
        if header.kind == "mlp":
            hidden = tensors["hidden.weight"].shape[0] if tensors.get("hidden.weight", np.empty(0)).ndim == 2 else None
            shapes |= {"hidden.weight": (hidden, d), "hidden.intercept": (hidden,)}
            width = hidden
        shapes |= {"weight": (outputs, width), "intercept": (outputs,)}
    if shapes.keys() != tensors.keys():
        return f"it has the tensors {sorted(tensors)} where {sorted(shapes)} belong"
    for name, shape in shapes.items():
        tensor = tensors[name]
        fits = len(shape) == tensor.ndim and all(a is None or a == b for a, b in zip(shape, tensor.shape, strict=True))
        if not fits or tensor.size == 0:
            return f"{name} has shape {list(tensor.shape)}, not {list(shape)}"
        if name not in ("labels", "flags"):
            if tensor.dtype not in _FLOATS:
                return f"{name} is {tensor.dtype}, not float32 or float64"
            if not np.isfinite(tensor).all():
                return f"{name} has values that are NaN or infinite"
            if name.endswith(".scale") and not (tensor > 0).all():
                return f"{name} has values that are not positive"
    return None


def _neighbours(header: ProbeHeader, tensors: Tensors, source: str) -> Any:
    """Return nearest neighbours over the saved rows."""
    from ..probes.knn.neighbours import KNNProbe

    assert header.neighbours is not None
    k, how, task = len(header.classes), header.neighbours, header.task
    targets = tensors[task.targets]
    if targets.dtype != task.dtype or not np.isin(targets, np.arange(task.values(k))).all():
        raise damaged(source, f"labels are not {np.dtype(task.dtype)} from 0 to {task.values(k) - 1}")
    if task.exclusive and len(np.unique(targets)) != k:
        raise damaged(source, "a class has no row")
    if how.k > len(targets):
        raise damaged(source, f"{how.k} neighbours of {len(targets)} rows")
    try:
        knn = KNNProbe(how.k, weights=how.weights, temperature=how.temperature, metric=how.metric)
        return knn.fit(tensors["rows"], targets.astype(np.int64))
    except ValueError as e:
        raise damaged(source, str(e)) from None
