"""Who extracted what under a name: said on one line, and whose newer content takes the place of older."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.data import put_set

import cryoprobe
from cryoprobe.pipeline.makers import about_name, current, makers, said_of
from cryoprobe.stores.format.names import Maker, NamedSet
from cryoprobe.stores.store import Store

ADA, BEN, CLEO = (Maker(user=name, host="lab", machine=name * 4) for name in ("ada", "ben", "cleo"))


@pytest.fixture
def opened(tmp_path: Path) -> Store:
    return cryoprobe.open_store(tmp_path / "store", create=True)


def name(store: Store, content: int, maker: Maker, when: int, dataset: str = "birds") -> str:
    """Give a content the name of a data set, as somebody does at some time."""
    x = np.random.default_rng(content).standard_normal((10 + content, 8))
    set_ = put_set(store, x, np.arange(len(x)) % 2, classes="ab", split="all", dataset=dataset, named=1).id
    (named,) = [n for n in store.find(dataset=dataset) if n.set == set_]
    store.name(named.model_copy(update={"named": when, "by": (maker,)}))
    return set_


def of_birds(store: Store) -> list[NamedSet]:
    return store.find(dataset="birds")


def test_newer_content_takes_the_place_of_older_of_the_same_people(opened: Store) -> None:
    first = name(opened, 1, ADA, 100)
    second = name(opened, 2, ADA, 200)
    assert [n.set for n in current(opened, of_birds(opened))] == [second]
    name(opened, 1, BEN, 300)  # Ben has the older content still
    assert {n.set for n in current(opened, of_birds(opened))} == {first, second}
    third = name(opened, 3, BEN, 400)
    assert {n.set for n in current(opened, of_birds(opened))} == {second, third}
    name(opened, 3, ADA, 500)
    assert [n.set for n in current(opened, of_birds(opened))] == [third]
    name(opened, 2, ADA, 600)  # and back again
    assert {n.set for n in current(opened, of_birds(opened))} == {second, third}


def test_a_path_keeps_every_content(opened: Store) -> None:
    made = {name(opened, content, ADA, 100 * content, "folder:/d") for content in (1, 2, 3)}
    assert {n.set for n in current(opened, opened.names())} == made
    assert current(opened, []) == []


def test_what_is_said_when_a_name_is_given(opened: Store) -> None:
    first, second = name(opened, 1, ADA, 100), name(opened, 2, BEN, 200)
    earlier = of_birds(opened)
    assert [*about_name(opened, first, earlier, CLEO)] == [*about_name(opened, first, earlier, ADA)]
    (said,) = about_name(opened, first, earlier, ADA)
    assert said.startswith(f"birds (all) is the name of other content too: set {second[:12]} (12 rows), by ben@lab")
    until, too = about_name(opened, "f" * 64, earlier, ADA)
    assert until == f"birds (all) was set {first[:12]} (11 rows) until now"
    assert second[:12] in too


def test_makers_are_those_of_the_name_or_of_the_set(opened: Store) -> None:
    name(opened, 1, ADA, 100)
    name(opened, 1, BEN, 200)
    (named,) = of_birds(opened)
    assert [(m.user, m.named) for m in makers(opened, named)] == [("ben", 200), ("ada", 100)]
    (unknown,) = makers(opened, named.model_copy(update={"by": ()}))
    assert (unknown.user, unknown.machine) == (None, None)


def test_people_are_said_on_one_line() -> None:
    odd = Maker(user="a\n  --train 123", host="\x1b[31m", machine="abcdef", source="folder:/x")
    assert said_of([odd, ADA], machines=True) == (
        "a\\n  --train 123@\\u001b[31m (machine abcd) from folder:/x, -; ada@lab (machine adaa), -"
    )
