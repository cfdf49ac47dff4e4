"""Sealing a set: linked where a unit is a chunk, gathered elsewhere, once, and readable with plain zarr."""

from __future__ import annotations

import hashlib
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from support.store_data import (
    CLASSES,
    DIM,
    ENCODER,
    ENCODER_ID,
    class_labels,
    dataset_of,
    keys,
    make_rows,
    sample_ids,
    seal,
    sealed_set,
    write_units,
)

from cryoprobe.errors import BadInput, Corrupt
from cryoprobe.stores.backends.backend import Backend
from cryoprobe.stores.backends.local import LocalBackend
from cryoprobe.stores.backends.memory import MemoryBackend
from cryoprobe.stores.feature_set import FeatureSet
from cryoprobe.stores.format.manifest import FailedSample, Manifest
from cryoprobe.stores.format.marker import FORMAT, FORMAT_VERSION
from cryoprobe.stores.keys import set_id, unit_seal_key

IDS = sample_ids(20)


def flags(n: int) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 2, (n, len(CLASSES)), np.uint8)


def assert_holds(feature_set: FeatureSet, ids: list[bytes], labels: npt.NDArray[Any], dtype: str = "float16") -> None:
    expected = make_rows(ids, dtype)
    x, y = feature_set.load(dtype=dtype)  # type: ignore[arg-type]
    np.testing.assert_array_equal(x, expected.embeddings)
    np.testing.assert_array_equal(y, labels)
    assert y.dtype == labels.dtype
    np.testing.assert_array_equal(feature_set.norms(), expected.norms)
    np.testing.assert_array_equal(feature_set.sample_ids(), expected.samples)


class TestAssembly:
    def test_a_chunk_that_is_a_unit_is_linked_and_any_other_is_gathered(self, local: LocalBackend) -> None:
        units = write_units(local, IDS, 8)  # 8, 8 and 4 rows
        manifest, _ = seal(local, IDS, chunk_rows=8)
        chunks = [f"embeddings/c/{i}/0" for i in range(3)]
        shared = [
            (local.root / manifest.folder / chunk).samefile(local.root / unit.key("embeddings"))
            for chunk, unit in zip(chunks, units, strict=True)
        ]
        assert shared == [True, True, False]  # the last chunk is padded to 8 rows
        for chunk, unit in zip(chunks[:2], units[:2], strict=True):
            assert manifest.objects[chunk] == unit.objects["embeddings"]
        assert manifest.units == tuple(u.unit for u in units)
        assert_holds(FeatureSet(local, manifest), IDS, class_labels(20))

    def test_a_set_cut_otherwise_than_its_units_is_gathered(self, local: LocalBackend) -> None:
        write_units(local, IDS, 8)
        manifest, _ = seal(local, IDS, chunk_rows=6)
        assert manifest.units == ()
        linked = [k for k in manifest.objects if (local.root / manifest.folder / k).stat().st_nlink > 1]
        assert linked == []
        assert_holds(FeatureSet(local, manifest), IDS, class_labels(20))

    def test_a_set_of_less_than_a_unit_has_one_chunk_of_its_own_length(self, backend: Backend) -> None:
        found = sealed_set(backend, IDS[:5], chunk_rows=4096)
        assert found.chunk_rows == 5
        assert found.manifest.objects["embeddings/c/0/0"].size == 5 * DIM * 2 + 4
        assert_holds(found, IDS[:5], class_labels(5))

    @settings(max_examples=40)
    @given(
        order=st.lists(st.integers(0, 19), min_size=1, max_size=25),
        unit_rows=st.integers(1, 9),
        chunk_rows=st.integers(1, 9),
        dtype=st.sampled_from(["float16", "float32"]),
    )
    def test_any_rows_in_any_order_cut_in_any_way(
        self, order: list[int], unit_rows: int, chunk_rows: int, dtype: str
    ) -> None:
        backend = MemoryBackend()
        write_units(backend, IDS, unit_rows, dtype)
        ids = [IDS[i] for i in order]
        manifest, sealed = seal(backend, ids, chunk_rows=chunk_rows)
        assert sealed
        assert manifest.dtype == dtype
        assert_holds(FeatureSet(backend, manifest), ids, class_labels(len(ids)), dtype)

    def test_multi_label_sets_keep_their_flags(self, local: LocalBackend) -> None:
        labels = flags(20)
        found = sealed_set(local, IDS, labels=labels)
        assert found.multilabel
        assert_holds(found, IDS, labels)
        np.testing.assert_array_equal(zarr.open_group(found.path, mode="r")["labels"][:], labels)

    def test_a_set_without_rows_is_refused(self, backend: Backend) -> None:
        with pytest.raises(BadInput, match="at least one row"):
            seal(backend, [])
        assert keys(backend) == []

    def test_a_row_that_the_store_lacks_leaves_no_manifest(self, backend: Backend) -> None:
        write_units(backend, IDS[:10], 5)
        with pytest.raises(KeyError):
            seal(backend, IDS)
        assert keys(backend, "manifests/") == []

    @pytest.mark.parametrize("chunk_rows", [5, 7])
    def test_a_unit_whose_rows_are_gone_is_named_and_nothing_is_sealed(self, backend: Backend, chunk_rows: int) -> None:
        units = write_units(backend, IDS, 5)
        backend.delete(units[2].key("embeddings"))
        with pytest.raises(Corrupt, match="is missing") as caught:
            seal(backend, IDS, chunk_rows=chunk_rows)
        assert caught.value.key == units[2].key("embeddings")
        assert keys(backend, "manifests/") == []

    def test_a_seal_in_the_place_of_another_does_not_pass_its_rows_off(self, backend: Backend) -> None:
        one, two = (unit_seal_key(ENCODER_ID, u.unit) for u in write_units(backend, IDS[:10], 5))
        backend.put(one, backend.get(two))
        with pytest.raises(Corrupt) as caught:
            seal(backend, IDS[:10], chunk_rows=5)
        assert caught.value.key == one


class TestSealing:
    def test_every_object_is_in_the_manifest_with_its_hash(self, backend: Backend) -> None:
        manifest = sealed_set(backend, IDS).manifest
        stored = {info.key.removeprefix(manifest.folder + "/"): info for info in backend.list(manifest.folder + "/")}
        assert set(stored) == set(manifest.objects)
        for key, record in manifest.objects.items():
            data = backend.get(f"{manifest.folder}/{key}")
            assert (record.size, record.sha256) == (len(data), hashlib.sha256(data).hexdigest())
            assert (record.crc32c is None) == key.endswith("zarr.json")

    def test_sealing_again_finds_the_set_and_writes_nothing(self, backend: Backend) -> None:
        write_units(backend, IDS, 8)
        first, sealed = seal(backend, IDS, provenance={"run": 1})
        before = {k: backend.get(k) for k in keys(backend)}
        again, sealed_again = seal(backend, IDS, provenance={"run": 2}, chunk_rows=5)
        assert (sealed, sealed_again) == (True, False)
        assert again == first
        assert {k: backend.get(k) for k in keys(backend)} == before

    @pytest.mark.parametrize("chunk_rows", [8, 6])
    def test_eight_sealers_at_once_end_with_one_set(self, backend: Backend, chunk_rows: int) -> None:
        write_units(backend, IDS, 8)
        barrier = threading.Barrier(8)

        def run(i: int) -> tuple[Manifest, bool]:
            barrier.wait()
            return seal(backend, IDS, chunk_rows=chunk_rows, provenance={"run": i})

        with ThreadPoolExecutor(8) as pool:
            outcomes = list(pool.map(run, range(8)))
        assert sum(sealed for _, sealed in outcomes) == 1
        manifest = outcomes[0][0]
        assert all(m == manifest for m, _ in outcomes)
        assert keys(backend, "manifests/") == [manifest.key]
        assert set(keys(backend, "sets/")) == {f"{manifest.folder}/{k}" for k in manifest.objects}
        assert_holds(FeatureSet(backend, manifest), IDS, class_labels(20))

    def test_a_set_whose_manifest_was_lost_is_sealed_anew_and_its_old_arrays_stay(self, backend: Backend) -> None:
        winner = sealed_set(backend, IDS)
        data = backend.get(winner.manifest.key)
        backend.delete(winner.manifest.key)
        second, sealed = seal(backend, IDS)
        assert sealed
        assert second.attempt != winner.manifest.attempt
        backend.put(winner.manifest.key, data)
        assert_holds(FeatureSet(backend, winner.manifest), IDS, class_labels(20))

    def test_other_labels_split_or_order_are_another_set(self, backend: Backend) -> None:
        write_units(backend, IDS, 8)
        labels = class_labels(20)
        made = [
            seal(backend, IDS)[0],
            seal(backend, IDS, labels=(labels + 1) % 3)[0],
            seal(backend, IDS, split="train")[0],
            seal(backend, IDS[::-1])[0],
            seal(backend, IDS[:-1])[0],
        ]
        assert len({m.set for m in made}) == 5
        for manifest in made[1:4]:
            assert FeatureSet(backend, manifest).rows == 20
        np.testing.assert_array_equal(FeatureSet(backend, made[1]).labels(), (labels + 1) % 3)

    def test_provenance_and_failures_are_recorded_and_are_no_part_of_the_identity(self, backend: Backend) -> None:
        write_units(backend, IDS, 8)
        failed = [FailedSample(name="x/ü.png", sample="0" * 64, error="cut short")]
        manifest, _ = seal(backend, IDS, failed=failed, provenance={"host": "a"})
        assert manifest.failed == tuple(failed)
        assert manifest.provenance.document == {"host": "a"}
        assert manifest.set == set_id(ENCODER_ID, manifest.dataset_id)
        assert seal(backend, IDS, provenance={"host": "b"})[0].set == manifest.set


class TestPlainZarr:
    @pytest.mark.parametrize("dtype", ["float16", "float32"])
    @pytest.mark.parametrize("n", [16, 19, 3])
    def test_the_arrays_are_there_with_their_values(self, local: LocalBackend, dtype: str, n: int) -> None:
        found = sealed_set(local, IDS[:n], dtype=dtype)
        expected = make_rows(IDS[:n], dtype)
        group = zarr.open_group(found.path, mode="r")
        assert sorted(group.array_keys()) == ["embeddings", "labels", "norms", "samples"]
        for name, values in {
            "embeddings": expected.embeddings,
            "norms": expected.norms,
            "labels": class_labels(n),
            "samples": expected.samples,
        }.items():
            array = group[name]
            assert array.shape == values.shape
            assert array.dtype == values.dtype
            np.testing.assert_array_equal(array[:], values)

    def test_chunks_fill_values_dimensions_and_codecs(self, local: LocalBackend) -> None:
        group = zarr.open_group(sealed_set(local, IDS).path, mode="r")
        assert group["embeddings"].chunks == (8, DIM)
        assert group["norms"].chunks == (8,)
        assert group["samples"].chunks == (8, 32)
        assert np.isnan(group["embeddings"].fill_value)
        assert np.isnan(group["norms"].fill_value)
        assert group["labels"].fill_value == group["samples"].fill_value == 0
        assert group["embeddings"].metadata.dimension_names == ("sample", "feature")
        for array in group.array_values():
            names = [codec["name"] for codec in array.metadata.to_dict()["codecs"]]
            assert names == ["bytes", "crc32c"]

    def test_the_attributes_say_what_it_is(self, local: LocalBackend) -> None:
        write_units(local, IDS, 8)
        failed = [FailedSample(name="ü.png", sample=None, error="no image")]
        manifest, _ = seal(local, IDS, failed=failed, provenance={"created": 7})
        attributes = zarr.open_group(FeatureSet(local, manifest).path, mode="r").attrs.asdict()
        assert attributes == {
            "format": FORMAT,
            "version": FORMAT_VERSION,
            "set": manifest.set,
            "encoder": ENCODER,
            "dataset": dataset_of(IDS, class_labels(20)),
            "classes": list(CLASSES),
            "rows": 20,
            "failed": [{"name": "ü.png", "sample": None, "error": "no image"}],
            "provenance": {"created": 7},
        }
        assert json.dumps(attributes)

    def test_all_chunks_are_written_so_that_fill_values_mean_that_one_is_missing(self, local: LocalBackend) -> None:
        found = sealed_set(local, IDS, labels=np.zeros(20, np.int64))
        group = zarr.open_group(found.path, mode="r")
        for array in group.array_values():
            assert array.nchunks_initialized == array.nchunks


class TestChunksOfOtherSets:
    """Once gc has removed the units, chunks are linked to those of other sets."""

    def sealed(self, local: LocalBackend, n: int, chunk_rows: int) -> Manifest:
        write_units(local, sample_ids(n), chunk_rows)
        manifest, _ = seal(local, sample_ids(n), chunk_rows=chunk_rows)
        for key in [*keys(local, "unit-seals/"), *keys(local, "units/")]:
            local.delete(key)
        return manifest

    def chunk(self, local: LocalBackend, manifest: Manifest, number: int) -> Path:
        return local.root / manifest.folder / f"embeddings/c/{number}/0"

    def test_the_same_rows_in_the_same_chunks_share_their_files(self, local: LocalBackend) -> None:
        one = self.sealed(local, 20, 8)
        two, sealed = seal(local, sample_ids(20), chunk_rows=8, labels=class_labels(20) * 0)
        assert sealed
        shared = [self.chunk(local, one, i).samefile(self.chunk(local, two, i)) for i in range(3)]
        assert shared == [True, True, False]  # the edge is not whole
        np.testing.assert_array_equal(FeatureSet(local, two).load()[0], FeatureSet(local, one).load()[0])

    @pytest.mark.parametrize(("n", "chunk_rows"), [(20, 4), (20, 5), (16, 8), (1, 1), (8, 8), (9, 8)])
    def test_rows_that_are_chunked_otherwise_are_gathered(self, local: LocalBackend, n: int, chunk_rows: int) -> None:
        ids = sample_ids(20)
        self.sealed(local, n, chunk_rows)
        write_units(local, ids[n:], 3) if n < 20 else None
        for wanted in (ids, ids[::-1], [*ids[8:16], *ids[:8]], ids[:9], [ids[0]] * 3, [*ids[:8], ids[0]]):
            two, sealed = seal(local, wanted, chunk_rows=8, split=f"{len(wanted)} {wanted[-1].hex()}")
            assert sealed
            expected = make_rows(wanted).embeddings.astype(np.float32)
            np.testing.assert_array_equal(FeatureSet(local, two).load()[0], expected)
