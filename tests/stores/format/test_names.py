"""Who has given a name is recorded with it; filters take the very name before a pattern."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.store_data import sample_ids, sealed_set

from cryoprobe.stores.backends.local import LocalBackend
from cryoprobe.stores.format.names import Maker, Name, NamedSet, matching
from cryoprobe.stores.format.origins import arriving, mark
from cryoprobe.stores.format.stored_names import find_name, write_name

ADA = Maker(user="ada", host="pc1", machine="1" * 16)
BEN = Maker(user="ben", host="pc2", machine="2" * 16, source="folder:/home/ben/birds")


@pytest.fixture
def backend(tmp_path: Path) -> LocalBackend:
    return LocalBackend(tmp_path)


@pytest.fixture
def named(backend: LocalBackend) -> NamedSet:
    name = Name(model="timm:m", dataset="birds", split="all", tap="pooled")
    return NamedSet.of(sealed_set(backend, sample_ids(8)).manifest, name, 100)


def given(backend: LocalBackend, named: NamedSet, maker: Maker, when: int) -> NamedSet:
    write_name(backend, named.model_copy(update={"named": when, "by": (maker,)}))
    found = find_name(backend, named.key)
    assert found is not None
    return found


def test_everybody_who_gave_a_set_a_name_is_recorded_with_it(backend: LocalBackend, named: NamedSet) -> None:
    given(backend, named, ADA, 100)
    assert [(m.user, m.named) for m in given(backend, named, BEN, 200).by] == [("ada", 100), ("ben", 200)]
    last = given(backend, named, ADA, 300)
    assert [(m.user, m.source, m.named) for m in last.by] == [("ben", BEN.source, 200), ("ada", None, 300)]
    many = [given(backend, named, Maker(user="u", machine=f"{i:016}"), 400 + i) for i in range(20)][-1]
    assert [m.named for m in many.by] == [*range(404, 420)]


def test_a_name_without_makers_is_written_as_before(backend: LocalBackend, named: NamedSet) -> None:
    write_name(backend, named)
    assert b'"by"' not in backend.get(named.key)
    assert find_name(backend, named.key) == named


def test_a_strangers_makers_are_not_taken_over(backend: LocalBackend, named: NamedSet) -> None:
    theirs = given(backend, named, BEN, 100)
    mark(backend, named.key, theirs.checksum, arriving("elsewhere", "pull"))
    assert [m.user for m in given(backend, named, ADA, 200).by] == ["ada"]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (ADA, ADA.model_copy(update={"named": 5, "host": "renamed"}), True),
        (ADA, ADA.model_copy(update={"machine": "3"}), False),
        (ADA, ADA.model_copy(update={"machine": None}), True),
        (Maker(user="ada", host="pc1"), Maker(user="ada", host="pc2"), False),
        (Maker(), Maker(), False),
    ],
)
def test_a_maker_is_known_by_the_machine(one: Maker, other: Maker, same: bool) -> None:
    assert one.is_also(other) == other.is_also(one) == same


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("/w [v]/a", ["/w [v]/a"]),
        ("/w [[]v]/a", ["/w [v]/a"]),
        ("/w [[]v]/*", ["/w [v]/a", "/w [v]/b"]),
        ("/w [v]/*", ["/w v/a"]),
        ("birds", ["/w [v]/b"]),
        ("bird?", ["/w [v]/b"]),
        ("owls", []),
    ],
)
def test_the_very_name_goes_before_a_pattern(pattern: str, found: list[str]) -> None:
    names = {"/w [v]/a": "x", "/w [v]/b": "birds", "/w v/a": "y"}
    assert matching(names, lambda path, _: [path, names[path]], {"dataset": pattern}) == found
