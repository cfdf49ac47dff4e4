"""`verify --recompute`: a random part of stored sets is encoded again with today's libraries, and compared."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pydantic import JsonValue

from ..amounts import count
from ..errors import BadInput, Conflict, CryoprobeError, NotFound
from ..progress import Reporter
from ..reporting import reporter_for
from ..stores.feature_set import FeatureSet
from ..stores.format.names import Name
from ..stores.local.sample_index import SampleIndex
from ..stores.opening import open_store
from ..stores.store import Origin, Store
from .datasets import limit_split, load_dataset
from .datasets.base import Split, UndecodableImage
from .encoders import file_sha256, load_encoder
from .encoders.base import Encoder
from .encoders.embedding import ImageLoader
from .extraction.again import Again, Comparison, compare
from .extraction.differences import differences
from .extraction.reuse import made_with
from .extraction.run import made_by
from .extraction.sample_ids import Identifier
from .options import EncoderOptions
from .specs import EncoderSpec

_THREADS = 4


@dataclass(frozen=True)
class Recomputed:
    """What became of one set.

    Parameters
    ----------
    set : str
        Its id.
    name : str
        Model, data set, split and tap.
    rows : int
        Rows of the set.
    comparison : Comparison or None
        None if nothing could be encoded again.
    remark : str
        What differs, or why nothing could be encoded; empty if all is well.
    """

    set: str
    name: str
    rows: int
    comparison: Comparison | None
    remark: str = ""

    @property
    def differs(self) -> bool:
        """Whether a row is not what its image is encoded to now."""
        return self.comparison is not None and self.comparison.differing > 0


def recompute(
    store: str | Path | Store,
    sets: Sequence[str] = (),
    *,
    share: float = 0.001,
    seed: int = 0,
    checkpoint: str | Path | None = None,
    data_root: str | Path | None = None,
    progress: bool = True,
    reporter: Reporter | None = None,
) -> list[Recomputed]:
    """Encode a random part of stored rows again, from their images, and compare.

    A model and its data are loaded by the names that are recorded with a set. The rows agree but for rounding, unless a
    library has drifted, another machine computes otherwise, or somebody made them up: none of which `verify` can see.

    Parameters
    ----------
    store : str, Path or Store
    sets : sequence of str
        Ids of sets, or their first digits; by default every set that is the store's own or of a trusted origin, since
        what a stranger's set names would be opened and loaded.
    share : float
        Which part of the rows of each set, at least one.
    seed : int
        Draws them.
    checkpoint : str or Path, optional
        File of the weights, for sets that were extracted with one.
    data_root : str or Path, optional
        Folder of torchvision's data sets.
    progress : bool
        Show a bar on a terminal or in a notebook.
    reporter : Reporter, optional
        Takes the progress instead.

    Returns
    -------
    list of Recomputed
        One for each set; of one that could not be encoded again it says why.
    """
    if not 0 < share <= 1:
        raise BadInput(f"The share is {share}; it is above 0 and at most 1.", key="share", found=share)
    opened, reporter = open_store(store), reporter_for(progress, reporter)
    named = [opened.open(set_).id for set_ in sets]
    ids = named or sorted(opened.set_ids())
    names: dict[str, list[Name]] = {}
    for one in opened.names():
        if one.origin is None:
            names.setdefault(one.set, []).append(one.name)
    run = _Run(share, seed, None if checkpoint is None else Path(checkpoint), data_root)
    reporter.begin("recompute", len(ids))
    try:
        found = []
        for set_ in ids:
            feature_set = opened.open(set_)
            origin = None if named else opened.origin_of(feature_set)
            known = names.get(feature_set.id, [])
            found.append(run.of(feature_set, known) if origin is None else _left_out(feature_set, origin))
            reporter.advance(encoded=1)
    finally:
        reporter.end()
    return found


def _called(feature_set: FeatureSet) -> str:
    recorded = feature_set.manifest.provenance.name
    return " ".join(str(recorded.get(field, "?")) for field in ("model", "dataset", "split", "tap"))


def _left_out(feature_set: FeatureSet, origin: Origin) -> Recomputed:
    """Say why a set is left alone: it says itself which model and which files are to be loaded."""
    why = f"it came from {origin.place}, which is not trusted: name the set to load the model and the files it names"
    return Recomputed(feature_set.id, _called(feature_set), feature_set.rows, None, why)


@dataclass
class _Run:
    """One call of `recompute`; keeps the encoder that it loaded last."""

    share: float
    seed: int
    checkpoint: Path | None
    data_root: str | Path | None

    def __post_init__(self) -> None:
        self._loaded: tuple[str, Encoder] | None = None
        self._sha256 = None if self.checkpoint is None else file_sha256(self.checkpoint)

    def of(self, feature_set: FeatureSet, names: Sequence[Name]) -> Recomputed:
        """Encode some rows of a set again; say why where that cannot be done.

        Of several `names` of the set, the one counts that was given with the checkpoint file that is here.
        """
        manifest = feature_set.manifest
        called = _called(feature_set)
        try:
            compared = self._by_one_of(feature_set, names)
        except (CryoprobeError, ValueError) as e:
            why = e.message if isinstance(e, CryoprobeError) else "it is not recorded how it was extracted"
            return Recomputed(feature_set.id, called, feature_set.rows, None, " ".join(why.split()))
        left_out = count(compared.too_large, "image") + " of more pixels than are decoded by default left out"
        if not compared.rows:
            return Recomputed(feature_set.id, called, feature_set.rows, None, left_out)
        assert self._loaded is not None
        made: dict[str, JsonValue] = {"versions": manifest.provenance.versions, "device": manifest.provenance.device}
        remark = compared.remark(made_with([made], made_by(self._loaded[1])))
        said = [text for text in (remark, left_out if compared.too_large else None) if text]
        return Recomputed(feature_set.id, called, feature_set.rows, compared, ". ".join(said))

    def _by_one_of(self, feature_set: FeatureSet, names: Sequence[Name]) -> Comparison:
        """Compare by the first name whose model and files are here; raise the error of the first if none is."""
        tried = [name for name in names if name.checkpoint == self._sha256]
        first: CryoprobeError | None = None
        for name in tried or [Name.model_validate(feature_set.manifest.provenance.name)]:
            try:
                return self._compare(feature_set, name)
            except CryoprobeError as e:
                first = first or e
        assert first is not None
        raise first

    def _compare(self, feature_set: FeatureSet, name: Name) -> Comparison:
        spec = EncoderSpec.model_validate(feature_set.manifest.encoder)
        encoder = self._encoder(feature_set.encoder_id, spec, name)
        split = self._split(feature_set, name)
        wanted = -(-feature_set.rows * self.share // 1)
        rows = sorted(random.Random(self.seed).sample(range(feature_set.rows), max(1, int(wanted))))
        samples = [s.tobytes() for s in feature_set.sample_ids()[rows]]
        images = _images(split, samples, rows)
        if not images:
            images_ = count(len(rows), "image")
            raise NotFound(f"none of the {images_} to be encoded is among the files of {name.dataset} on this machine")
        stored = feature_set.load(rows=[rows[position] for position, _ in images], dtype=spec.stored_dtype)[0]
        return compare(ImageLoader(encoder, spec.preprocessing), spec, split, [image for _, image in images], stored)

    def _encoder(self, encoder_id: str, spec: EncoderSpec, name: Name) -> Encoder:
        if self._loaded is not None and self._loaded[0] == encoder_id:
            return self._loaded[1]
        if name.checkpoint is not None and self.checkpoint is None:
            digits = name.checkpoint[:12]
            raise NotFound(f"its weights are those of a file with sha256 {digits}…: give --checkpoint FILE")
        recorded = name.model_dump()
        options = {field: recorded[field] for field in EncoderOptions.model_fields if recorded.get(field) is not None}
        checkpoint = None if name.checkpoint is None else self.checkpoint
        options.update(taps=(spec.tap,), precision=spec.precision, checkpoint=checkpoint)
        try:
            encoder = load_encoder(name.model, **options)
        except BadInput:
            if options.pop("checkpoint_key", None) is None:
                raise
            encoder = load_encoder(name.model, **options)  # the key is of another file with these weights
        found = encoder.spec(spec.tap, spec.stored_dtype)
        if found.id != encoder_id:
            why = ", ".join(differences(spec.written, found))
            raise Conflict(f"{name.model} is another encoder now: {why}")
        self._loaded = encoder_id, encoder
        return encoder

    def _split(self, feature_set: FeatureSet, name: Name) -> Split:
        root = None if self.data_root is None else Path(self.data_root)
        made = feature_set.manifest.provenance
        source = made.document.get("source")  # of a data set with a given name
        called = source if isinstance(source, str) and name.dataset == made.name.get("dataset") else name.dataset
        split = load_dataset(
            called,
            data_root=root,
            unlabelled=feature_set.unlabelled,
            image_column=name.image_column,
            label_column=name.label_column,
        ).split(name.split)
        return split if name.limit is None else limit_split(split, name.limit, name.limit_seed or 0)


def _images(split: Split, samples: Sequence[bytes], rows: Sequence[int]) -> list[tuple[int, Again]]:
    """Return those of `samples` that the split still has, each with its position."""
    found: dict[int, Again] = {}
    for position, (sample_id, row) in enumerate(zip(samples, rows, strict=True)):
        if (raw := _content(split, row, sample_id)) is not None:  # where it was, unless something was added
            found[position] = Again(row, sample_id, raw)
    missing = {sample_id: position for position, sample_id in enumerate(samples) if position not in found}
    if missing:
        for sample_id, row in _rows_of(split, set(missing)):
            if (raw := _content(split, row, sample_id)) is not None:
                found[missing[sample_id]] = Again(row, sample_id, raw)
    return sorted(found.items())


def _content(split: Split, row: int, sample_id: bytes) -> bytes | None:
    if row >= len(split):
        return None
    with suppress(OSError, UndecodableImage):
        raw = split.read(row)
        return raw if hashlib.sha256(raw).digest() == sample_id else None
    return None


def _rows_of(split: Split, wanted: set[bytes]) -> list[tuple[bytes, int]]:
    """Identify all of a split; return the wanted samples with a row that has each."""
    index = SampleIndex()
    found: dict[bytes, int] = {}
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="cryoprobe-load") as pool:
        identifier, at = Identifier(split, index, pool), 0
        while at < len(split) and len(found) < len(wanted):
            block = identifier.identify(range(at, min(at + 4096, len(split))))
            for row, sample_id in zip(block.rows, block.ids, strict=True):
                if sample_id in wanted:
                    found.setdefault(sample_id, row)
            at += len(block.rows)
    index.close()
    return [(sample_id, row) for sample_id, row in found.items()]
