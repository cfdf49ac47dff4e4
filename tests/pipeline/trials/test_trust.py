"""What came from elsewhere and is not trusted never stands in for one's own: rows, names and trials."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pytest
from support.data import write_images
from support.poison import LATEST, better_scores, poison
from support.servers import serving_folder

import cryoprobe
from cryoprobe.folders import config_file
from cryoprobe.pipeline.encoders import Encoder
from cryoprobe.stores.feature_set import FeatureSet
from cryoprobe.stores.store import Store

ROWS = 24


class Victim(NamedTuple):
    """Somebody who has images, and what their encoder makes of them."""

    folder: Path
    encoder: Encoder
    truth: dict[bytes, npt.NDArray[np.float32]]
    honest: FeatureSet
    score: float

    @property
    def data(self) -> str:
        return f"folder:{self.folder / 'data'}"

    def extract(self, store: Store | Path, **options: Any) -> cryoprobe.ExtractedSet:
        return cryoprobe.extract(self.encoder, self.data, store, **options)[0]

    def probe(self, store: Store | Path, **options: Any) -> dict[str, Any]:
        by_name = {"model": self.encoder.name, "dataset": self.data, "untrained": True}
        return cryoprobe.probe(store, **{"probe": "nearest-mean", **by_name, **options})


@pytest.fixture
def victim(tmp_path: Path, encoder: Encoder) -> Victim:
    write_images(tmp_path / "data", {"a": ROWS // 2, "b": ROWS // 2})
    store = cryoprobe.open_store(tmp_path / "honest", create=True)
    made = cryoprobe.extract(encoder, f"folder:{tmp_path / 'data'}", store)[0]
    honest = store.open(made.set)
    x, _ = honest.load()
    truth = dict(zip((s.tobytes() for s in honest.sample_ids()), x, strict=True))
    found = Victim(tmp_path, encoder, truth, honest, 0)
    return found._replace(score=found.probe(store)["metrics"]["top1"])


def assert_own(victim: Victim, store: Store, *, encoded: int = ROWS) -> None:
    """Extract and probe as somebody would who knows of nothing; what comes must be one's own."""
    made = victim.extract(store)
    assert (made.encoded, made.rows) == (encoded, ROWS)
    own = store.open(made.set)
    x, y = own.load()
    assert all(np.array_equal(row, victim.truth[s.tobytes()]) for row, s in zip(x, own.sample_ids(), strict=True))
    assert np.array_equal(y, victim.honest.labels())
    assert store.origin_of(own) is None
    probed = victim.probe(store)
    assert probed["train"] == made.set
    assert probed["metrics"]["top1"] == victim.score
    assert "origins" not in probed
    assert victim.probe(store)["cached"]
    assert not cryoprobe.verify(store.own, data=True).damages
    assert victim.extract(store).encoded == 0


@contextmanager
def imported(victim: Victim, evil: Store) -> Iterator[Store]:
    (set_,) = evil.set_ids()
    cryoprobe.export_set(evil, set_, victim.folder / "birds.zip")
    cryoprobe.import_set(victim.folder / "mine", victim.folder / "birds.zip")
    yield cryoprobe.open_store(victim.folder / "mine")


@contextmanager
def pulled(victim: Victim, evil: Store) -> Iterator[Store]:
    cryoprobe.pull(victim.folder / "mine", evil.url, units=True)
    yield cryoprobe.open_store(victim.folder / "mine")


@contextmanager
def pulled_over_http(victim: Victim, evil: Store) -> Iterator[Store]:
    with serving_folder(Path(evil.url)) as url:
        cryoprobe.pull(victim.folder / "mine", url)
    yield cryoprobe.open_store(victim.folder / "mine")


@contextmanager
def beneath(victim: Victim, evil: Store) -> Iterator[Store]:
    yield cryoprobe.open_store(victim.folder / "mine", create=True, sources=[evil.url])


@contextmanager
def beneath_over_http(victim: Victim, evil: Store) -> Iterator[Store]:
    with serving_folder(Path(evil.url)) as url:
        yield cryoprobe.open_store(victim.folder / "mine", create=True, sources=[url])


@contextmanager
def synced(victim: Victim, evil: Store) -> Iterator[Store]:
    mine = cryoprobe.open_store(victim.folder / "mine", create=True)
    cryoprobe.sync(mine, evil, units=True)
    yield mine


@contextmanager
def passed_on(victim: Victim, evil: Store) -> Iterator[Store]:
    """Pull from a stranger, and push to a third store, in which the victim works."""
    with pulled(victim, evil) as colleagues:
        cryoprobe.push(colleagues, victim.folder / "third", units=True)
    yield cryoprobe.open_store(victim.folder / "third")


@contextmanager
def pulled_from_a_trusted_store_that_did_not_trust_it(victim: Victim, evil: Store) -> Iterator[Store]:
    with pulled(victim, evil) as colleagues:
        cryoprobe.pull(victim.folder / "third", colleagues, units=True, trust=True)
    yield cryoprobe.open_store(victim.folder / "third")


@contextmanager
def pushed_back(victim: Victim, evil: Store) -> Iterator[Store]:
    """Pull from a stranger, push to the stranger, and pull again."""
    with pulled(victim, evil) as mine:
        cryoprobe.push(mine, evil, units=True)
        cryoprobe.pull(mine, evil.url, units=True)
        yield mine


@contextmanager
def archived_twice(victim: Victim, evil: Store) -> Iterator[Store]:
    """Import an archive, export the set that came, and import that archive too."""
    with imported(victim, evil) as mine:
        (set_,) = mine.set_ids()
        cryoprobe.export_set(mine, set_, victim.folder / "again.zip")
        cryoprobe.import_set(mine, victim.folder / "again.zip")
        cryoprobe.import_set(victim.folder / "second", victim.folder / "again.zip")
    yield cryoprobe.open_store(victim.folder / "second", sources=[victim.folder / "mine"])


@contextmanager
def beside_a_trusted_folder(victim: Victim, evil: Store) -> Iterator[Store]:
    """Read and pull from places whose paths begin as that of a trusted folder does."""
    (victim.folder / "ev").mkdir()
    config_file().parent.mkdir(parents=True, exist_ok=True)
    config_file().write_text(f'[trust]\nfrom = ["{victim.folder / "ev"}"]\n')
    around = f"{victim.folder}/ev/../{Path(evil.url).name}"
    cryoprobe.pull(victim.folder / "mine", around, units=True)
    yield cryoprobe.open_store(victim.folder / "mine", sources=[evil.url, around])


@contextmanager
def collected(victim: Victim, evil: Store) -> Iterator[Store]:
    """Pull from a stranger, remove the set, collect without grace, and pull again."""
    with pulled(victim, evil) as mine:
        cryoprobe.rm(mine, mine.set_ids(), now=True)
        cryoprobe.gc(mine, delete=True, grace=0)
        cryoprobe.pull(mine, evil.url)
        yield mine


WAYS = [
    *(imported, pulled, pulled_over_http, beneath, beneath_over_http, synced, passed_on),
    pulled_from_a_trusted_store_that_did_not_trust_it,
    *(pushed_back, archived_twice, beside_a_trusted_folder, collected),
]


@pytest.mark.parametrize("forged", ["k1_import_poison", "same set", "same time", "units"])
@pytest.mark.parametrize("way", WAYS)
def test_made_up_rows_and_names_do_nothing(way: Any, forged: str, victim: Victim) -> None:
    how: dict[str, Any] = {
        "k1_import_poison": {"flip": True},
        "same set": {},
        "same time": {"flip": True, "named": victim.honest.manifest.provenance.created},
        "units": {"units_alone": True},
    }[forged]
    with way(victim, poison(victim.honest, victim.folder / "evil", **how)) as store:
        assert_own(victim, store)


def test_the_same_made_up_rows_are_taken_where_they_are_trusted(victim: Victim) -> None:
    evil = poison(victim.honest, victim.folder / "evil")
    for trusted in ("by option", "by name"):
        mine = victim.folder / trusted
        if trusted == "by name":
            config_file().parent.mkdir(parents=True)
            config_file().write_text(f'[stores]\nteam = "{evil.url}"\n')
        cryoprobe.pull(mine, evil.url if trusted == "by option" else "team", trust=trusted == "by option")
        assert victim.extract(mine).encoded == 0
        opened = cryoprobe.open_store(mine)
        origin = opened.describe(next(iter(opened.set_ids())))["origin"]
        assert (origin["place"], origin["trusted"]) == (evil.url, True)
    assert victim.extract(cryoprobe.open_store(victim.folder / "own", create=True, sources=["team"])).encoded == 0
    config_file().write_text(f'[stores]\nteam = "{evil.url}"\n[trust]\nnot = ["team"]\n')
    assert_own(victim, cryoprobe.open_store(victim.folder / "own2", create=True, sources=["team"]))


def test_what_came_is_trusted_when_the_same_command_says_so(victim: Victim) -> None:
    evil = poison(victim.honest, victim.folder / "evil")
    with pulled(victim, evil) as mine:
        assert {n.origin is None for n in mine.names()} == {False}
        cryoprobe.pull(mine, evil.url, units=True, trust=True)
        assert {n.origin is None for n in mine.names()} == {True}
        assert victim.extract(mine).encoded == 0


def test_k2_name_year_9999_and_check(victim: Victim, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CRYOPROBE_CACHE", str(victim.folder / "another machine"))
    with imported(victim, poison(victim.honest, victim.folder / "evil", flip=True)) as mine:
        (stranger,) = mine.set_ids()
        only = victim.probe(mine)  # nothing else fits
        assert (only["train"], only["origins"]["train"]["from"]) == (stranger, str(victim.folder / "birds.zip"))
        assert any("not trusted" in note for note in only["notes"])
        made = victim.extract(mine)
        assert victim.probe(mine)["train"] == made.set != stranger
        assert [(n.set, n.origin is None) for n in mine.names()] == [(made.set, True), (stranger, False)]
        assert victim.probe(mine, train=stranger, model=None, dataset=None, untrained=False)


def test_a_date_in_the_future_has_no_effect_among_ones_own_names(victim: Victim) -> None:
    mine = cryoprobe.open_store(victim.folder / "mine", create=True)
    evil = poison(victim.honest, victim.folder / "evil", flip=True)
    cryoprobe.pull(mine, evil.url, trust=True)
    made = victim.extract(mine)
    assert next(n.set for n in mine.names()) == made.set
    assert max(n.named for n in mine.names()) == LATEST


@pytest.mark.parametrize("way", [pulled, pulled_over_http, beneath, synced])
def test_k3_pull_trials(way: Any, victim: Victim) -> None:
    evil = cryoprobe.open_store(victim.folder / "evil", create=True)
    victim.extract(evil)
    victim.probe(evil)
    assert better_scores(evil) == 1
    mine = cryoprobe.open_store(victim.folder / "mine", create=True)
    victim.extract(mine)
    with way(victim, evil) as store:
        assert [t["origin"] for t in cryoprobe.results(store)] or way is pulled_over_http
        probed = victim.probe(store)
        assert not probed["cached"]
        assert probed["metrics"]["top1"] == victim.score
        assert any("1 stored result" in note and "--trust" in note for note in probed["notes"])
        assert victim.probe(store)["cached"]
        assert [t.get("origin") for t in cryoprobe.results(store)] == [None]


def test_results_of_a_trusted_store_are_answered_from_and_say_where_they_came_from(victim: Victim) -> None:
    theirs = cryoprobe.open_store(victim.folder / "theirs", create=True)
    victim.extract(theirs)
    victim.probe(theirs)
    mine = victim.folder / "mine"
    cryoprobe.pull(mine, theirs, trust=True)
    probed = victim.probe(mine)
    assert (probed["cached"], probed["origin"]) == (True, theirs.url)
    again = victim.probe(mine, rerun=True)
    assert (again["cached"], "origin" in again) == (False, False)
    assert "origin" not in victim.probe(mine)


def test_rerun_runs_what_the_store_has_and_replaces_it(victim: Victim) -> None:
    mine = cryoprobe.open_store(victim.folder / "mine", create=True)
    victim.extract(mine)
    victim.probe(mine)
    better_scores(mine)
    assert victim.probe(mine)["metrics"]["top1"] == 0.999
    again = victim.probe(mine, rerun=True)
    assert (again["cached"], again["metrics"]["top1"]) == (False, victim.score)
    assert victim.probe(mine)["metrics"]["top1"] == victim.score


def test_a_result_on_a_strangers_set_is_not_an_answer_about_ones_own_of_that_id(victim: Victim) -> None:
    with imported(victim, poison(victim.honest, victim.folder / "evil")) as mine:
        (set_,) = mine.set_ids()
        by_id = {"train": set_, "model": None, "dataset": None, "untrained": False}
        first = victim.probe(mine, **by_id)
        assert first["metrics"]["top1"] != victim.score
        assert victim.probe(mine, **by_id)["cached"]
        assert victim.extract(mine).set == set_
        assert victim.probe(mine, **by_id)["metrics"]["top1"] == victim.score
        # … and pushed on, where the set is somebody's own, it is none either.
        cryoprobe.push(mine, victim.folder / "third")
        assert victim.probe(victim.folder / "third", **by_id)["metrics"]["top1"] == victim.score


def test_pull_extract_remove_pull_and_extract_again(victim: Victim) -> None:
    evil = poison(victim.honest, victim.folder / "evil")
    with pulled(victim, evil) as mine:
        made = victim.extract(mine)
        cryoprobe.rm(mine, [made.set], now=True)
        cryoprobe.pull(mine, evil.url, units=True)
        assert_own(victim, mine)
        cryoprobe.gc(mine, delete=True, grace=0)
        assert_own(victim, mine, encoded=0)


def test_removing_a_strangers_set_leaves_ones_own_units(victim: Victim) -> None:
    mine = cryoprobe.open_store(victim.folder / "mine", create=True)
    victim.extract(mine)
    (own,) = mine.set_ids()
    before = set(mine.backend.keys("unit-seals/"))
    with imported(victim, poison(victim.honest, victim.folder / "evil", flip=True)):
        (stranger,) = mine.set_ids().keys() - {own}
        mine.backend.delete(mine.manifest_key(own))  # as if the extraction were not done yet
        for _ in range(2):
            cryoprobe.gc(mine, delete=True, grace=0)
        cryoprobe.rm(mine, [stranger], now=True)
        assert before <= set(mine.backend.keys("unit-seals/"))


def test_ones_own_stays_ones_own_when_it_comes_back(victim: Victim) -> None:
    mine = cryoprobe.open_store(victim.folder / "mine", create=True)
    made = victim.extract(mine)
    victim.probe(mine)
    cryoprobe.push(mine, victim.folder / "theirs")
    cryoprobe.export_set(mine, made.set, victim.folder / "mine.zip")
    for bring in (
        lambda: cryoprobe.pull(mine, victim.folder / "theirs"),
        lambda: cryoprobe.import_set(mine, victim.folder / "mine.zip"),
        lambda: cryoprobe.sync(mine, victim.folder / "theirs"),
    ):
        bring()
        assert [n.origin for n in mine.names()] == [None]
        assert mine.origin_of(mine.open(made.set)) is None
        assert victim.probe(mine)["cached"]
        assert "origin" not in victim.probe(mine)


def test_a_trusted_set_takes_the_place_of_one_that_is_not(victim: Victim) -> None:
    with imported(victim, poison(victim.honest, victim.folder / "evil")) as mine:
        cryoprobe.pull(mine, victim.folder / "honest", trust=True)
        assert_own(victim, mine, encoded=0)


def test_layers_that_are_not_trusted_lie_below_all_others(victim: Victim) -> None:
    evil = poison(victim.honest, victim.folder / "evil")
    config_file().parent.mkdir(parents=True)
    config_file().write_text(f'[stores]\nteam = "{victim.folder / "honest"}"\n')
    store = cryoprobe.open_store(victim.folder / "mine", create=True, sources=[evil.url, "team"])
    assert_own(victim, store, encoded=0)


def test_a_damaged_layer_that_is_not_trusted_stops_nothing(victim: Victim) -> None:
    evil = poison(victim.honest, victim.folder / "evil")
    for key in [*evil.backend.keys("manifests/"), *evil.backend.keys("unit-seals/"), *evil.backend.keys("names/")]:
        evil.backend.put(key, b"{")
    with beneath(victim, evil) as store:
        made = victim.extract(store)
        assert made.encoded == ROWS
        evil.backend.put(f"trials/{victim.probe(store)['trial']}.json", b"{")
        assert victim.probe(store, rerun=True)["metrics"]["top1"] == victim.score


def test_what_lacks_trust_is_said_in_one_line_with_how_to_trust_it(victim: Victim) -> None:
    class Notes(cryoprobe.Reporter):
        def __init__(self) -> None:
            self.said: list[str] = []

        def note(self, message: str) -> None:
            self.said.append(message)

    for way, remedy in ((imported, "cryoprobe import"), (beneath, "--trust, or list that store")):
        mine, notes = victim.folder / "mine", Notes()
        with way(victim, poison(victim.honest, victim.folder / f"evil-{way.__name__}", flip=True)) as store:
            cryoprobe.extract(victim.encoder, victim.data, store, reporter=notes)
        (said,) = [note for note in notes.said if "not used" in note]
        assert f"{ROWS} rows" in said
        assert remedy in said
        mine.rename(victim.folder / f"mine-{way.__name__}")
