"""Reading rows: any choice of them is what numpy's own indexing gives."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.store_data import CLASSES, DIM, ENCODER_ID, class_labels, make_rows, sample_ids, sealed_set

from cryoprobe.errors import BadInput, Corrupt
from cryoprobe.stores.backends.local import LocalBackend
from cryoprobe.stores.backends.memory import MemoryBackend
from cryoprobe.stores.feature_set import FeatureSet

N = 21  # chunks of 4: five whole ones and an edge of one row
IDS = sample_ids(N)
ROWS = make_rows(IDS)
X = ROWS.embeddings.astype(np.float32)
Y = class_labels(N)
FLAGS = np.random.default_rng(0).integers(0, 2, (N, len(CLASSES)), np.uint8)
SET = sealed_set(MemoryBackend(), IDS, chunk_rows=4)
FLAG_SET = sealed_set(MemoryBackend(), IDS, chunk_rows=4, labels=FLAGS)

SLICES = st.slices(N) | st.builds(slice, st.none() | st.integers(-30, 30), st.none() | st.integers(-30, 30))
LISTS = st.lists(st.integers(0, N - 1), max_size=40)


def assert_rows(read: tuple[npt.NDArray[Any], npt.NDArray[Any]], wanted: Any, dtype: str = "float32") -> None:
    x, y = read
    assert x.dtype == dtype
    assert y.dtype == np.int64
    assert x.shape == (len(Y[wanted]), DIM)
    np.testing.assert_array_equal(x, X[wanted].astype(dtype))
    np.testing.assert_array_equal(y, Y[wanted])


def test_what_a_set_says_of_itself() -> None:
    assert len(SET) == SET.rows == N
    assert (SET.dim, SET.chunk_rows, SET.classes, SET.split, SET.multilabel) == (DIM, 4, CLASSES, "test", False)
    assert (SET.encoder_id, SET.dataset_id, SET.id) == (
        ENCODER_ID,
        SET.manifest.dataset_id,
        SET.manifest.set,
    )
    assert SET.failed == ()
    assert FLAG_SET.multilabel
    assert repr(SET) == f"<FeatureSet {SET.id[:12]} [21, 6] float16>"


class TestLoad:
    def test_all_rows_by_default(self) -> None:
        assert_rows(SET.load(), slice(None))

    @given(rows=SLICES)
    def test_any_slice_is_numpys(self, rows: slice) -> None:
        assert_rows(SET.load(rows), rows)

    @given(rows=LISTS)
    def test_any_list_with_repeats_in_any_order_is_numpys(self, rows: list[int]) -> None:
        assert_rows(SET.load(rows), np.array(rows, np.int64))
        np.testing.assert_array_equal(SET.norms(rows), ROWS.norms[np.array(rows, np.int64)])
        np.testing.assert_array_equal(SET.sample_ids(rows), ROWS.samples[np.array(rows, np.int64)])
        np.testing.assert_array_equal(SET.labels(rows), Y[np.array(rows, np.int64)])

    @pytest.mark.parametrize(
        "rows", [range(3, 17, 3), (5, 4), np.array([20, 0], np.uint8), np.array([7]), range(20, -1, -1)], ids=repr
    )
    def test_any_kind_of_integers_chooses_rows(self, rows: Any) -> None:
        assert_rows(SET.load(rows), list(rows))

    @pytest.mark.parametrize("rows", [[], (), np.empty(0, np.int64), slice(5, 5), slice(30, None), slice(9, 2)])
    def test_no_rows_are_an_empty_matrix_of_the_right_width(self, rows: Any) -> None:
        x, y = SET.load(rows)
        assert (x.shape, x.dtype) == ((0, DIM), np.float32)
        assert (y.shape, y.dtype) == ((0,), np.int64)
        flags = FLAG_SET.labels(rows)
        assert (flags.shape, flags.dtype) == ((0, 3), np.uint8)

    @pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
    def test_the_dtype_is_the_one_asked_for(self, dtype: Any) -> None:
        assert_rows(SET.load(dtype=dtype), slice(None), dtype)
        assert_rows(SET.load([3, 1], dtype=np.dtype(dtype)), [3, 1], dtype)  # type: ignore[arg-type]

    @pytest.mark.parametrize("dtype", ["int64", "uint8", "bool", "object", "complex64", "nonsense"])
    def test_a_dtype_that_cannot_hold_embeddings_is_refused(self, dtype: Any) -> None:
        reads: list[Callable[[], object]] = [
            lambda: SET.load(dtype=dtype),
            lambda: next(SET.batches(4, dtype=dtype)),
            lambda: SET.as_torch(dtype=dtype)[0],
        ]
        for read in reads:
            with pytest.raises(BadInput, match=dtype):
                read()

    def test_a_float32_set_keeps_its_precision(self) -> None:
        found = sealed_set(MemoryBackend(), IDS, chunk_rows=4, dtype="float32")
        np.testing.assert_array_equal(found.load()[0], make_rows(IDS, "float32").embeddings)
        assert not np.array_equal(found.load()[0], X)

    def test_embeddings_have_unit_norm_and_raw_ones_the_encoders(self) -> None:
        x, _ = SET.load()
        raw, y = SET.load(raw=True)
        np.testing.assert_allclose(np.linalg.norm(x, axis=1), 1, atol=1e-3)
        np.testing.assert_array_equal(raw, X * ROWS.norms[:, None])
        np.testing.assert_allclose(np.linalg.norm(raw, axis=1), SET.norms(), rtol=1e-3)
        np.testing.assert_array_equal(y, Y)

    @given(rows=SLICES | LISTS.filter(bool))
    def test_raw_rows_are_multiplied_by_their_own_norms(self, rows: slice | list[int]) -> None:
        raw, _ = SET.load(rows, raw=True)
        np.testing.assert_array_equal(raw, X[rows] * ROWS.norms[rows][:, None])

    def test_what_is_loaded_can_be_written_to_and_changes_nothing(self) -> None:
        x, y = SET.load()
        x[:] = 0
        y[:] = 0
        assert_rows(SET.load(), slice(None))

    @pytest.mark.parametrize(
        "rows",
        [
            [N],
            [-1],
            [0, N, 1],
            np.array([2**63], np.uint64),
            [2**70],
            [0.0, 1.0],
            [1.5],
            [True, False] * 10 + [True],
            np.ones(N, bool),
            ["3"],
            [None],
            [[0, 1], [2, 3]],
            np.zeros((2, 0), np.int64),
            [[0, 1], [2]],
            5,
            "all",
            {0, 1},
        ],
        ids=repr,
    )
    def test_rows_that_are_not_there_are_refused(self, rows: Any) -> None:
        for read in (SET.load, SET.labels, SET.norms, SET.samples):
            with pytest.raises(BadInput):
                read(rows)

    def test_the_message_says_which_rows_there_are(self) -> None:
        with pytest.raises(BadInput, match=r"has rows 0 to 20; asked for 3…21"):
            SET.load([3, 21])

    def test_multi_label_flags_are_read_with_their_rows(self) -> None:
        rows = [20, 3, 3, 7]
        x, y = FLAG_SET.load(rows)
        np.testing.assert_array_equal(x, X[rows])
        np.testing.assert_array_equal(y, FLAGS[rows])


class TestBatches:
    @pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 7, 8, 20, 21, 22, 1000])
    @pytest.mark.parametrize("raw", [False, True])
    def test_batches_of_any_size_are_the_set(self, n: int, raw: bool) -> None:
        batches = list(SET.batches(n, raw=raw))
        assert [len(x) for x, _ in batches] == [n] * (N // n) + ([N % n] if N % n else [])
        assert all(len(x) == len(y) for x, y in batches)
        x, y = SET.load(raw=raw)
        np.testing.assert_array_equal(np.concatenate([x for x, _ in batches]), x)
        np.testing.assert_array_equal(np.concatenate([y for _, y in batches]), y)

    @pytest.mark.parametrize("dtype", ["float16", "float64"])
    def test_batches_have_the_dtype_asked_for(self, dtype: Any) -> None:
        for start, (x, y) in enumerate(SET.batches(1, dtype=dtype)):
            assert_rows((x, y), [start], dtype)

    def test_batches_of_flags(self) -> None:
        np.testing.assert_array_equal(np.concatenate([y for _, y in FLAG_SET.batches(4)]), FLAGS)

    @pytest.mark.parametrize("n", [0, -3])
    def test_a_batch_of_nothing_is_refused(self, n: int) -> None:
        with pytest.raises(BadInput, match="at least one row"):
            next(SET.batches(n))

    def test_a_batch_may_be_written_to(self) -> None:
        for x, _ in SET.batches(4):
            x[:] = 0
        assert_rows(SET.load(), slice(None))


class Slow(MemoryBackend):
    """Remote storage that gives the first chunk of the embeddings at once, and the others when it is told to."""

    remote = True

    def __init__(self) -> None:
        super().__init__()
        self.go = threading.Event()
        self.asked: list[int] = []

    def get(self, key: str, limit: int | None = None) -> bytes:
        if "/embeddings/c/" in key:
            chunk = int(key.split("/")[-2])
            self.asked.append(chunk)
            if chunk and not self.go.wait(60):
                raise AssertionError(f"chunk {chunk} was waited for")
        return super().get(key, limit)


class TestReadAhead:
    @pytest.fixture
    def slow(self) -> tuple[Slow, FeatureSet]:
        backend = Slow()
        backend.go.set()
        found = sealed_set(backend, sample_ids(30 * 8))
        backend.go.clear()
        backend.asked.clear()
        return backend, found

    def test_the_first_batch_comes_before_the_second_chunk(self, slow: tuple[Slow, FeatureSet]) -> None:
        backend, found = slow
        batches = found.batches(8)
        x, _ = next(batches)
        assert not backend.go.is_set()
        backend.go.set()
        rest = [x for x, _ in batches]
        np.testing.assert_array_equal(np.concatenate([x, *rest]), found.load()[0])

    def test_no_more_than_eight_chunks_are_read_ahead(self, slow: tuple[Slow, FeatureSet]) -> None:
        backend, found = slow
        backend.go.set()
        for chunk, _ in enumerate(found.batches(8)):
            assert len(backend.asked) <= chunk + 1 + 8 + 1
        assert sorted(backend.asked) == list(range(30))

    def test_who_stops_early_does_not_read_the_rest(self, slow: tuple[Slow, FeatureSet]) -> None:
        backend, found = slow
        backend.go.set()
        batches = found.batches(8)
        next(batches)
        batches.close()  # type: ignore[attr-defined]
        assert len(backend.asked) <= 10
        assert not [t for t in threading.enumerate() if t.name.startswith("cryoprobe-each")]

    def test_a_chunk_that_is_damaged_is_told_when_its_rows_are_due(self, slow: tuple[Slow, FeatureSet]) -> None:
        backend, found = slow
        backend.go.set()
        backend.delete(f"{found.manifest.folder}/embeddings/c/3/0")
        batches = found.batches(8)
        for _ in range(3):
            next(batches)
        with pytest.raises(Corrupt, match=r"embeddings/c/3/0 .*is missing"):
            next(batches)


def torch_data() -> Any:
    """Return torch's loaders: the store does without torch, and so do these tests."""
    return pytest.importorskip("torch.utils.data")


class TestAsTorch:
    @pytest.mark.parametrize("batch_size", [1, 4, 5, 50])
    def test_a_loader_gives_every_row_with_its_label_once(self, batch_size: int) -> None:
        found = [
            (tuple(x.tolist()), int(y))
            for xs, ys in torch_data().DataLoader(SET.as_torch(), batch_size, shuffle=True)
            for x, y in zip(xs, ys, strict=True)
        ]
        assert sorted(found) == sorted((tuple(x.tolist()), int(y)) for x, y in zip(X, Y, strict=True))
        assert found != sorted(found)

    def test_a_loader_in_order_is_load(self) -> None:
        loader: Any = torch_data().DataLoader(SET.as_torch(raw=True), 6, num_workers=0)
        x = np.concatenate([xs.numpy() for xs, _ in loader])
        np.testing.assert_array_equal(x, SET.load(raw=True)[0])
        assert x.dtype == np.float32

    def test_flags_and_dtype_reach_the_loader(self) -> None:
        view = FLAG_SET.as_torch("float64")
        x, y = next(iter(torch_data().DataLoader(view, N)))
        np.testing.assert_array_equal(x.numpy(), X.astype(np.float64))
        np.testing.assert_array_equal(y.numpy(), FLAGS)

    def test_a_part_of_it_can_be_loaded(self) -> None:
        view = SET.as_torch()
        x, _ = next(iter(torch_data().DataLoader(torch_data().Subset(view, [20, 0, 7]), 3)))
        np.testing.assert_array_equal(x.numpy(), X[[20, 0, 7]])

    def test_it_is_a_sequence(self) -> None:
        view = SET.as_torch()
        assert len(view) == N
        x, y = view[20]
        np.testing.assert_array_equal(x, X[20])
        assert y == Y[20]
        items = list(view)  # type: ignore[call-overload]
        np.testing.assert_array_equal(np.stack([x for x, _ in items]), X)

    @pytest.mark.parametrize("index", [N, -1, 1000])
    def test_an_index_that_is_not_there_is_an_index_error(self, index: int) -> None:
        with pytest.raises(IndexError):
            SET.as_torch()[index]

    def test_a_batch_with_an_index_that_is_not_there_is_refused(self) -> None:
        with pytest.raises(BadInput):
            SET.as_torch().__getitems__([0, N])


def test_a_set_in_a_folder_can_be_sent_to_another_process(local: LocalBackend) -> None:
    found = sealed_set(local, IDS, chunk_rows=4)
    arrived: FeatureSet = pickle.loads(pickle.dumps(found))
    assert_rows(arrived.load(), slice(None))
