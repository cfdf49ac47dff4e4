"""What every data set must hold, so that its samples have the same ids and labels whenever it is opened."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from ..errors import NotFound
from ..pipeline.datasets.base import Dataset, Split, UndecodableImage
from ..stores.local.looks import fingerprint


class DatasetSuite:
    """What is asked of a data set. Give the fixture `dataset`; one more lets more be tested.

    Fixtures
    --------
    dataset : Dataset
        An opened data set: a `cryoprobe.Dataset`, or any object that has what `Dataset` in pipeline/datasets/base.py
        has.
    same_dataset : Dataset, optional
        The same one, opened a second time.

    Attributes
    ----------
    looked_at : int
        How many samples of each split are read, at the beginning and at the end.

    Examples
    --------
    >>> import cryoprobe
    >>> class TestToy(DatasetSuite):
    ...     @pytest.fixture
    ...     def dataset(self):
    ...         return cryoprobe.Dataset((np.zeros((4, 8, 8), np.uint8), [0, 1, 0, 1]), name="lab:toy")
    """

    looked_at = 8

    @pytest.fixture
    def same_dataset(self) -> Dataset:
        pytest.skip("the suite has no fixture `same_dataset`")

    def splits_of(self, dataset: Dataset) -> list[Split]:
        """Return all splits."""
        return [dataset.split(name) for name in dataset.splits]

    def samples_of(self, split: Split) -> Iterator[int]:
        """Yield the numbers of the samples that are read."""
        n = len(split)
        yield from sorted({*range(min(n, self.looked_at)), *range(max(0, n - self.looked_at), n)})

    def test_it_has_a_name_and_splits(self, dataset: Dataset) -> None:
        assert isinstance(dataset, Dataset)
        assert dataset.name.strip()
        assert dataset.name.isprintable()
        assert dataset.splits
        assert len(set(dataset.splits)) == len(dataset.splits)
        assert [split.name for split in self.splits_of(dataset)] == list(dataset.splits)

    def test_a_split_that_does_not_exist_is_not_found(self, dataset: Dataset) -> None:
        with pytest.raises(NotFound, match=dataset.splits[0]):
            dataset.split("no such split")

    def test_classes_are_the_same_texts_in_every_split(self, dataset: Dataset) -> None:
        first, *others = (split.classes for split in self.splits_of(dataset))
        assert isinstance(first, tuple)
        assert all(isinstance(name, str) for name in first)
        assert len(set(first)) == len(first) > 0
        assert all(classes == first for classes in others)

    def test_every_sample_has_a_label(self, dataset: Dataset) -> None:
        for split in self.splits_of(dataset):
            labels, n_classes = split.labels, len(split.classes)
            assert len(split) == len(labels) > 0
            if labels.ndim == 1:
                assert labels.dtype == np.int64
                assert labels.min() >= 0
                assert labels.max() < n_classes
            else:
                assert labels.dtype == np.uint8
                assert labels.shape == (len(split), n_classes)
                assert labels.max() <= 1

    def test_samples_are_read_and_decoded(self, dataset: Dataset) -> None:
        for split in self.splits_of(dataset):
            for index in self.samples_of(split):
                raw = split.read(index)
                assert isinstance(raw, bytes)
                assert raw == split.read(index)
                image, again = split.decode(raw), split.decode(raw)
                assert isinstance(image, Image.Image)
                assert (image.mode, image.size, image.tobytes()) == (again.mode, again.size, again.tobytes())

    def test_samples_may_be_read_in_threads(self, dataset: Dataset) -> None:
        for split in self.splits_of(dataset):
            indices = list(self.samples_of(split))
            with ThreadPoolExecutor(4) as pool:
                together = list(pool.map(split.read, indices * 3))
            assert together == [split.read(index) for index in indices] * 3

    def test_a_sample_has_a_name_that_can_be_printed(self, dataset: Dataset) -> None:
        for split in self.splits_of(dataset):
            for index in self.samples_of(split):
                name = split.describe(index)
                assert name.strip()
                assert name.encode()

    def test_a_sample_that_is_a_file_is_one_of_the_sources(self, dataset: Dataset) -> None:
        for split in self.splits_of(dataset):
            sources = set(split.sources)
            for index in self.samples_of(split):
                if (path := split.path(index)) is not None:
                    assert path in sources
                    assert split.read(index).startswith(path.read_bytes())  # an id may have a mark behind it

    def test_sources_are_there_and_have_a_fingerprint(self, dataset: Dataset) -> None:
        for split in self.splits_of(dataset):
            assert all(path.is_absolute() and path.exists() for path in split.sources)
            assert fingerprint(split.sources) == fingerprint(split.sources)

    def test_what_is_not_an_image_is_undecodable(self, dataset: Dataset) -> None:
        for split in self.splits_of(dataset):
            whole = split.read(0)
            for raw in (b"", b"not an image", whole[: len(whole) // 2]):
                with pytest.raises(UndecodableImage):
                    split.decode(raw)

    def test_opened_again_it_has_the_same_samples_in_the_same_order(
        self, dataset: Dataset, same_dataset: Dataset
    ) -> None:
        assert same_dataset.name == dataset.name
        assert list(same_dataset.splits) == list(dataset.splits)
        for split, again in zip(self.splits_of(dataset), self.splits_of(same_dataset), strict=True):
            assert again.classes == split.classes
            assert again.labels.tolist() == split.labels.tolist()
            assert again.sources == split.sources
            for index in self.samples_of(split):
                assert again.read(index) == split.read(index)
                assert again.describe(index) == split.describe(index)
