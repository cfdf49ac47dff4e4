"""What every encoder must hold, so that features are the same whoever extracts them, and how often."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import cryoprobe

from ..pipeline.encoders.base import Encoder

_SIZES_PX = ((64, 48), (48, 64), (50, 50), (31, 97))
_MODES = ("RGB", "L", "RGBA", "P", "1", "CMYK")


def pictures(modes: Sequence[str] = ("RGB",) * 6) -> list[Image.Image]:
    """Return one picture a mode, of several sizes; no two are alike."""
    made = []
    for number, mode in enumerate(modes):
        width, height = _SIZES_PX[number % len(_SIZES_PX)]
        pixels = np.random.default_rng(number).integers(0, 256, (height, width, 3), dtype=np.uint8)
        pixels[: height // 2, :, number % 3] //= 4
        made.append(Image.fromarray(pixels).convert(mode))
    return made


class EncoderSuite:
    """What is asked of an encoder. Give the fixture `encoder`; two more let more be tested.

    Fixtures
    --------
    encoder : Encoder
        A loaded encoder: a `cryoprobe.Encoder`, or any object that has what `Encoder` in pipeline/encoders/base.py has.
    same_encoder : Encoder, optional
        The same one, constructed a second time.
    other_encoder : Encoder, optional
        One with other weights.

    Attributes
    ----------
    tolerance : float
        How much an embedding may differ when its image is encoded in another batch, relative to the largest value.

    Examples
    --------
    >>> import torch, torchvision
    >>> class TestPixels(EncoderSuite):
    ...     @pytest.fixture
    ...     def encoder(self):
    ...         small = torchvision.transforms.v2.Compose([
    ...             torchvision.transforms.v2.RGB(),
    ...             torchvision.transforms.v2.Resize((8, 8)),
    ...             torchvision.transforms.ToTensor(),
    ...         ])
    ...         return cryoprobe.Encoder(torch.nn.Flatten(), small, name="lab:pixels", version="1")
    """

    tolerance = 1e-4

    @pytest.fixture
    def same_encoder(self) -> Encoder:
        pytest.skip("the suite has no fixture `same_encoder`")

    @pytest.fixture
    def other_encoder(self) -> Encoder:
        pytest.skip("the suite has no fixture `other_encoder`")

    @pytest.fixture
    def batch(self, encoder: Encoder) -> torch.Tensor:
        """Return preprocessed images, all different."""
        return torch.stack([encoder.preprocess(picture) for picture in pictures()])

    def test_it_has_what_an_encoder_has(self, encoder: Encoder) -> None:
        assert isinstance(encoder, Encoder)
        assert encoder.name.strip()
        assert encoder.name.isprintable()
        assert encoder.taps
        assert len(set(encoder.taps)) == len(encoder.taps)

    def test_images_of_all_modes_and_sizes_become_tensors_of_one_shape(self, encoder: Encoder) -> None:
        tensors = [encoder.preprocess(picture) for picture in pictures(_MODES)]
        assert len({(tuple(t.shape), t.dtype) for t in tensors}) == 1

    def test_preprocessing_leaves_the_image_as_it_was(self, encoder: Encoder) -> None:
        for picture, untouched in zip(pictures(_MODES), pictures(_MODES), strict=True):
            encoder.preprocess(picture)
            assert (picture.mode, picture.size) == (untouched.mode, untouched.size)
            assert picture.tobytes() == untouched.tobytes()

    def test_preprocessing_may_run_in_threads(self, encoder: Encoder) -> None:
        alone = [encoder.preprocess(picture) for picture in pictures()]
        with ThreadPoolExecutor(4) as pool:
            together = list(pool.map(encoder.preprocess, pictures() * 4))
        for number, tensor in enumerate(together):
            assert torch.equal(tensor, alone[number % len(alone)])

    def test_every_tap_gives_one_finite_row_an_image(self, encoder: Encoder, batch: torch.Tensor) -> None:
        encoded = encoder.encode(batch)
        assert list(encoded) == list(encoder.taps)
        for rows in encoded.values():
            assert rows.ndim == 2
            assert len(rows) == len(batch)
            assert (rows.dtype, rows.device.type) == (torch.float32, "cpu")
            assert torch.isfinite(rows).all()
            assert (rows.norm(dim=1) > 0).all()

    def test_different_images_have_different_embeddings(self, encoder: Encoder, batch: torch.Tensor) -> None:
        for rows in encoder.encode(batch).values():
            assert len(torch.unique(rows, dim=0)) == len(batch)

    def test_the_same_batch_has_the_same_embeddings_to_the_last_bit(
        self, encoder: Encoder, batch: torch.Tensor
    ) -> None:
        first, again = encoder.encode(batch), encoder.encode(batch)
        for tap in encoder.taps:
            assert torch.equal(first[tap], again[tap])

    def test_an_embedding_does_not_depend_on_its_batch(self, encoder: Encoder, batch: torch.Tensor) -> None:
        whole = encoder.encode(batch)
        alone = [encoder.encode(image[None]) for image in batch]
        reversed_ = encoder.encode(batch.flip(0))
        for tap, rows in whole.items():
            most = self.tolerance * float(rows.abs().max())
            assert torch.allclose(torch.cat([each[tap] for each in alone]), rows, rtol=0, atol=most)
            assert torch.allclose(reversed_[tap].flip(0), rows, rtol=0, atol=most)

    def test_no_gradient_is_kept(self, encoder: Encoder, batch: torch.Tensor) -> None:
        with torch.enable_grad():
            encoded = encoder.encode(batch)
        assert not any(rows.requires_grad or rows.is_inference() for rows in encoded.values())

    def test_encoding_changes_neither_the_encoder_nor_its_input(self, encoder: Encoder, batch: torch.Tensor) -> None:
        images, ids = batch.clone(), [encoder.spec(tap).id for tap in encoder.taps]
        first = encoder.encode(batch[:1])
        kept = {tap: rows.clone() for tap, rows in first.items()}
        for rows in first.values():
            rows.zero_()  # what was returned is the caller's
        encoder.encode(batch.flip(0))
        again = encoder.encode(batch[:1])
        assert torch.equal(batch, images)
        assert all(torch.equal(again[tap], kept[tap]) for tap in encoder.taps)
        assert [encoder.spec(tap).id for tap in encoder.taps] == ids

    def test_encoding_leaves_torch_as_it_was(self, encoder: Encoder, batch: torch.Tensor) -> None:
        def state() -> tuple[object, ...]:
            return torch.get_rng_state().tolist(), torch.is_grad_enabled(), torch.get_float32_matmul_precision()

        before = state()
        encoder.encode(batch)
        assert state() == before

    def test_each_tap_and_each_stored_dtype_has_an_id_of_its_own(self, encoder: Encoder) -> None:
        specs = [encoder.spec(tap, dtype) for tap in encoder.taps for dtype in ("float16", "float32")]
        assert [spec.tap for spec in specs[::2]] == list(encoder.taps)
        assert len({spec.id for spec in specs}) == len(specs)
        assert encoder.spec(encoder.taps[0]).id == specs[0].id

    def test_the_same_encoder_has_the_same_id_and_embeddings(
        self, encoder: Encoder, same_encoder: Encoder, batch: torch.Tensor
    ) -> None:
        first, again = encoder.encode(batch), same_encoder.encode(batch)
        assert same_encoder.taps == encoder.taps
        for tap in encoder.taps:
            assert same_encoder.spec(tap).id == encoder.spec(tap).id
            assert torch.equal(again[tap], first[tap])

    def test_other_weights_have_another_id(self, encoder: Encoder, other_encoder: Encoder) -> None:
        for tap in set(encoder.taps) & set(other_encoder.taps):
            assert other_encoder.spec(tap).id != encoder.spec(tap).id

    def test_images_are_extracted_once(self, encoder: Encoder, tmp_path: Path) -> None:
        for number, picture in enumerate(pictures()):
            path = tmp_path / "images" / "ab"[number % 2] / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            picture.save(path)
        runs = [cryoprobe.extract(encoder, f"folder:{tmp_path}/images", tmp_path / "store") for _ in range(2)]
        assert [[done.encoded for done in run] for run in runs] == [[6] * len(encoder.taps), [0] * len(encoder.taps)]
