"""Problems for protocols: rows around one centre a class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from cryoprobe.pipeline.probes import Draw, LabelledFeatures, draw_shots
from cryoprobe.pipeline.protocols import Problem

CLASSES, D = 6, 24


def problem(
    parameters: Mapping[str, Any],
    *,
    draw: Draw | None = None,
    n: tuple[int, int, int] = (420, 120, 200),
    val: bool = True,
    shuffle_test: bool = False,
    metric: str = "top1",
) -> Problem:
    """Return a problem of 6 classes in 24 dimensions; `n` rows of train, validation and test."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(CLASSES, D))
    parts = []
    for count in n:
        y = np.arange(count) % CLASSES
        parts.append(LabelledFeatures((3 * centres[y] + 4.5 * rng.normal(size=(count, D))).astype(np.float32), y))
    train, held, test = parts
    if shuffle_test:
        test = LabelledFeatures(test.x, np.random.default_rng(1).permutation(test.y))
    draw = draw or Draw()
    if draw.shots is not None:
        train = train.take(draw_shots(train.y, draw.shots, 0)[0])
        held = held.take(draw_shots(held.y, min(draw.shots, 4), 0)[0])
    return Problem(
        train, held if val else None, test, CLASSES, metric, True, draw, 0, parameters, None, lambda line: None
    )


def problem_with_flags(parameters: Mapping[str, Any], *, draw: Draw, metric: str = "map") -> Problem:
    """Return a problem of 5 flags in 12 dimensions."""
    rng = np.random.default_rng(0)
    planes = rng.normal(size=(12, 5))

    def part(count: int) -> LabelledFeatures:
        x = rng.normal(size=(count, 12)).astype(np.float32)
        return LabelledFeatures(x, (x @ planes + 0.5 * rng.normal(size=(count, 5)) > 1.5).astype(np.uint8))

    return Problem(part(400), part(100), part(200), 5, metric, True, draw, 0, parameters, None, lambda line: None)
