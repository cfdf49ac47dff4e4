"""Linear heads of a protocol as fitted estimators; a grid of them is trained on the same batches."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...errors import BadInput
from ..probes.labelled_features import LabelledFeatures
from ..probes.sklearn_calls import Fitted


def fit_heads(
    part: LabelledFeatures, n_classes: int, *, inputs: Sequence[slice] = (slice(None),), **how: Any
) -> list[Fitted]:
    """Train heads on a part; see `train_heads_on` for the parameters and their order, those of the first input first.

    A head that diverged has weights of 0, and says that it did not converge.

    Raises
    ------
    BadInput
        If labels are flags, or a parameter is out of range.
    """
    from ..probes.gradient.heads import train_heads_on
    from ..probes.gradient.sgd import head_as_probe

    if not part.task.exclusive:
        raise BadInput(
            "This protocol trains a softmax over exclusive classes, and these labels are flags.",
            hint="For multi-label data take --protocol clip, or a probe such as logreg.",
            key="protocol",
        )
    start = time.perf_counter()
    trained = train_heads_on(part.matrix, inputs, part.y.astype(np.int64), n_classes, **how)
    probes = [head_as_probe(heads, i, n_classes) for heads in trained for i in range(len(heads))]
    seconds = (time.perf_counter() - start) / len(probes)
    return [Fitted(probe, probe.converged_, probe.n_iter_, seconds, ()) for probe in probes]
