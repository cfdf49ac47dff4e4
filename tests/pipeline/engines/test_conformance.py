"""Whatever starts the workers, and whatever happens to them: the store ends as after one process, and nothing is lost.

The faults are data, see `support.logged_encoder`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import logged_encoder
from support.data import write_images
from support.engines import BATCH, ENGINES, UNIT, Run, ray_cluster, serial

import cryoprobe

pytestmark = pytest.mark.slow

CLASSES = {"a": 120, "b": 120}
IMAGES = sum(CLASSES.values())

SLOW = {"any": ["slow", 0.02]}
PLANS: dict[str, dict[Any, dict[Any, Any]]] = {
    "nothing": {},
    "killed, hung and slow": {0: {2: "kill"}, 1: {3: "hang", **SLOW}, 2: {1: ["slow", 0.5], **SLOW}, "any": SLOW},
}
DEATHS = {
    name: sum(fault in ("kill", "hang") for calls in plan.values() for fault in calls.values())
    for name, plan in PLANS.items()
}

Content = tuple[list[bytes], list[int], np.ndarray]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    write_images(folder, CLASSES, side=8)
    return folder


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with ray_cluster(4, tmp_path_factory.mktemp("ray")) as cluster:
        yield cluster.address


@pytest.fixture(scope="module")
def expected(data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Content]:
    """What one process that nothing happens to makes."""
    run = Run(tmp_path_factory.mktemp("serial"), data)
    logged_encoder.begin(run.folder, {})
    serial(run)
    assert set(logged_encoder.encoded(run.folder).values()) == {1}
    return content(run.store)


def content(store: Path) -> dict[str, Content]:
    """Return ids, labels and embeddings of every set, by its id, with what names lead to it."""
    opened = cryoprobe.open_store(store)
    found = {}
    for named in opened.names():
        rows = opened.open(named.set)
        x, y = rows.load()
        found[f"{named.set} {named.name}"] = ([i.tobytes() for i in rows.sample_ids()], y.tolist(), x)
    return found


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("engine", ENGINES)
def test_the_store_ends_as_after_one_process(
    engine: str, plan: str, data: Path, expected: dict[str, Content], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    run = Run(tmp_path, data, request.getfixturevalue("address") if engine == "ray" else "")
    logged_encoder.begin(tmp_path, PLANS[plan])
    ENGINES[engine](run)

    found = content(run.store)
    assert found.keys() == expected.keys()
    for name, (ids, labels, x) in expected.items():
        assert found[name][:2] == (ids, labels)
        np.testing.assert_array_equal(found[name][2], x)
    assert not cryoprobe.verify(run.store, data=True).damages

    encoded = logged_encoder.encoded(tmp_path)
    assert len(encoded) == IMAGES
    # Who dies loses what it had not sealed. Beside that, each process may encode a batch that another one encodes too,
    # and compares some rows that it found.
    lost = DEATHS[plan] * (UNIT + BATCH)
    each = BATCH + math.ceil(IMAGES / 50)
    assert encoded.total() - IMAGES <= lost + (logged_encoder.processes(tmp_path) - 1) * each
