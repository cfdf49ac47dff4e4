"""What arrays are, by name: for annotations only, each name with one meaning.

Shapes are written beside a parameter, as ``[n, d]``: n rows, d features, C classes.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[Any]
"""An array of any dtype."""
Mask: TypeAlias = npt.NDArray[np.bool_]
"""Yes or no, bool."""
Int64: TypeAlias = npt.NDArray[np.int64]
"""Counts and other whole numbers, int64."""
Float32: TypeAlias = npt.NDArray[np.float32]
"""Numbers in float32, such as embeddings as a store keeps them."""
Float64: TypeAlias = npt.NDArray[np.float64]
"""Numbers in float64, such as sums, weights and probabilities."""

Floating: TypeAlias = npt.NDArray[np.floating[Any]]
"""Numbers in any precision, such as features and weights as a caller gives them."""

Features: TypeAlias = Float32 | Float64
"""Features of rows, [n, d], in the precision in which a probe computes."""
Scores: TypeAlias = npt.NDArray[np.floating[Any]]
"""Scores, margins or probabilities, [n, C], in any precision; the higher, the likelier."""

Labels: TypeAlias = npt.NDArray[np.int64]
"""One label a row: the place of its class, int64 [n]."""
Flags: TypeAlias = npt.NDArray[np.uint8]
"""Any number of labels a row: a 0/1 flag for each class, uint8 [n, C]."""
Targets: TypeAlias = Labels | Flags
"""What a data set says of its rows: `Labels` or `Flags`."""

Indices: TypeAlias = npt.NDArray[np.int64]
"""Places of rows, int64 [n]."""
SampleIds: TypeAlias = npt.NDArray[np.uint8]
"""Sample ids, uint8 [n, 32]."""
