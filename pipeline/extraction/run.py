"""The extraction of one call: each split is encoded where the store lacks it, then sealed and named for each tap."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cached_property

from pydantic import JsonValue

from ...arrays import SampleIds
from ...errors import BadInput, Conflict, CryoprobeError
from ...progress import Reporter
from ...stores.feature_set import FeatureSet
from ...stores.format.names import Maker, Name
from ...stores.local.looks import Look
from ...stores.local.sample_index import SampleIndex
from ...stores.store import RowIndex, RowsRemoved, Store, set_id
from ..datasets.base import Split
from ..encoders.allocator import keep_freed_memory, release_memory
from ..encoders.base import Encoder, notes_of
from ..encoders.devices import compile_all, device_names, replicas
from ..encoders.tuning import chosen_batch, faster_precision
from ..makers import this_machine
from ..options import ExtractionOptions, ExtractRunOptions
from ..provenance import provenance
from ..specs import EncoderSpec
from .content import Content, content_of, spec_of
from .differences import explain_dataset, explain_encoder
from .encoding import BatchSize
from .findings import DecodedImages
from .health import DataHealth, examine
from .hits import KeptSet, kept_sets, look_up
from .naming import rows_not_trusted
from .opening import Data
from .planner import Target
from .promise import Promise
from .result import ExtractedSet
from .reuse import made_with, reused_rows
from .sample_ids import Known
from .set_names import SetNames
from .settings import Own, Settings
from .split_run import SplitRun

_MANY = 1000
"""Of fewer images it is not worth saying how they could be encoded faster."""
_MOST_REMOVALS = 8
"""How often in a row an extraction may find that rows which it reuses were removed."""
_PACKAGES = (
    "torch",
    "torchvision",
    "open_clip_torch",
    "timm",
    "numpy",
    "pillow",
    "pillow-heif",
    "pillow-avif-plugin",
    "torchcodec",
    "zarr",
)
"""Whose versions are recorded with a set."""


def made_by(encoder: Encoder, *, compiled: bool = False) -> dict[str, JsonValue]:
    """Return with which versions and on which device images are encoded now."""
    made: dict[str, JsonValue] = {
        "versions": dict(provenance(_PACKAGES).versions or {}),
        "device": str(encoder.device),
    }
    return {**made, "compiled": True} if compiled else made


@dataclass(frozen=True)
class ExtractionRun:
    """One call of `extract`.

    Parameters
    ----------
    model : str
        Name of the encoder, by which the sets are found again.
    promise : Promise
        The encoder; it is loaded when something is to be encoded.
    data : Data
    store : Store
    asked : ExtractionOptions
    running : ExtractRunOptions
    reporter : Reporter
    """

    model: str
    promise: Promise
    data: Data
    store: Store
    asked: ExtractionOptions
    running: ExtractRunOptions
    reporter: Reporter

    @cached_property
    def specs(self) -> list[EncoderSpec]:
        """The encoder at each tap."""
        return self.promise.known.stored_as(self.asked.stored_dtype)

    @cached_property
    def targets(self) -> list[Target]:
        """The rows that the store has at each tap."""
        targets = [Target(spec, spec.id, self.store.rows_of(spec.id)) for spec in self.specs]
        new = [target for target in targets if not len(target.index)]
        if new and (why := explain_encoder(self.store, new[0].spec)):  # the taps of one encoder differ in the same
            self.reporter.note(why)
        return targets

    @cached_property
    def names(self) -> SetNames:
        """What the sets are called."""
        return SetNames(self.model, self.promise.known, self.data, self.asked, self.store, self.reporter)

    @cached_property
    def encoder(self) -> Encoder:
        """The encoder itself."""
        encoder = self.promise.open()
        if str(encoder.device) == "cpu":
            keep_freed_memory()
        return encoder

    @cached_property
    def encoders(self) -> list[Encoder]:
        """The encoder on each device."""
        names = device_names(self.running.device, self.running.local)
        encoders = replicas(self.encoder, names)
        if len(encoders) < len(names):
            self.reporter.note(f"{self.encoder.name} computes on {self.encoder.device} alone.")
        if self.running.compile:
            compile_all(encoders)
        return encoders

    @cached_property
    def settings(self) -> Settings:
        """How to run, on the devices of the encoder."""
        encoder, note = self.encoder, self.reporter.note
        if sum(map(len, self.data.parts)) >= _MANY and (said := faster_precision(encoder)) is not None:
            note(said)
        return Settings(
            batch_size=BatchSize(chosen_batch(encoder, self.running.batch_size, note), note),
            workers=self.running.threads,
            unit_rows=self.running.unit_rows,
            max_bad=self.running.max_bad,
            made_by=made_by(encoder, compiled=self.running.compile),
            max_pixels=self.running.max_pixels,
            decode_in=self.running.decode_in,
        )

    def run(self, samples: SampleIndex) -> list[ExtractedSet]:
        """Extract every split; return its sets, in the order of the taps."""
        splits = zip(self.data.parts, self.data.looks, strict=True)
        with self.profiled():
            return [extracted for split, look in splits for extracted in self.extract(split, look, samples, Own())]

    @contextmanager
    def profiled(self) -> Iterator[None]:
        """Say in the end where the time went, if that is asked for."""
        try:
            yield
        finally:
            profile = self.settings.profile.lines() if self.promise.is_open else ["Nothing was encoded."]
            for line in profile if self.running.profile else ():
                self.reporter.note(line)

    def extract(
        self, split: Split, look: Look, samples: SampleIndex, own: Own, known: Known | None = None
    ) -> list[ExtractedSet]:
        """Extract one split, again if rows that it reused were removed meanwhile.

        Parameters
        ----------
        split : Split
        look : Look
            What its files looked like before they were read.
        samples : SampleIndex
        own : Own
            What this process has done for it already.
        known : Known, optional
            What is known of its samples.
        """
        started = time.monotonic()
        for _ in range(_MOST_REMOVALS):
            try:
                extracted = self._extract_once(split, look, samples, own, known)
            except RowsRemoved:
                self.reporter.note("Rows were removed from the store meanwhile; looking again.")
                for target in self.targets:
                    target.index.refresh()
            else:
                seconds = round(time.monotonic() - started, 3)
                return [replace(e, seconds=seconds) for e in extracted]
        raise Conflict(
            f"Another process keeps deleting rows from {self.store.url} ({_MOST_REMOVALS} attempts).",
            hint="Stop rm or gc, then run this command again: what is sealed is kept.",
            key=self.data.name,
        )

    def _extract_once(
        self, split: Split, look: Look, samples: SampleIndex, own: Own, known: Known | None
    ) -> list[ExtractedSet]:
        if not len(split):
            raise BadInput(f"Split {split.name!r} of {self.data.name} has no samples.", key=self.data.name)
        self.reporter.begin(f"{self.data.name} {split.name}", len(split))
        try:
            if known is None and not self.promise.is_open:
                known = self._look_up(split, look, samples)
            kept = self._kept(split, known)
            encoded = None if kept is not None else self._encode(split, samples, own, known)
        finally:
            self.reporter.end()
        me = this_machine(samples, self.data.source)
        if kept is not None:
            extracted, dataset_id = [self.names.again(k, split, me) for k in kept], kept[0].feature_set.dataset_id
        else:
            assert encoded is not None
            extracted, dataset_id = self._seal_all(split, *encoded, me)
        for remark in dict.fromkeys(remark for e in extracted for remark in e.remarks):
            self.reporter.note(remark)
        # Otherwise a file may be another than was encoded, and `probe` would not see it.
        if known is None or known.is_certain:
            self.names.record_views(self.specs, split, look, dataset_id, samples)
        return extracted

    def _look_up(self, split: Split, look: Look, samples: SampleIndex) -> Known:
        """Find the sample ids of a split without the encoder, as far as the store has their rows."""

        def indexes() -> list[RowIndex]:
            return [target.index for target in self.targets]

        return look_up(split, look, samples, self.running.threads, indexes, self.reporter)

    def _kept(self, split: Split, known: Known | None) -> list[KeptSet] | None:
        """Return the sets of the split that the store has at each tap; None if something is to be done."""
        if known is None or not known.there.all():
            return None
        kept = kept_sets(self.store, self.specs, spec_of(split, known.ids, split.labels))
        if kept is not None:
            self.reporter.advance(reused=len(split))
        return kept

    def _encode(self, split: Split, samples: SampleIndex, own: Own, known: Known | None) -> tuple[SampleIds, SplitRun]:
        """Encode what the store lacks; return the sample ids, and the run."""
        run = self.split_run(split, samples, own)
        ids = run.run(known).ids
        release_memory()  # of the encoder's batches, before the set is put together
        return ids, run

    def split_run(self, split: Split, samples: SampleIndex, own: Own) -> SplitRun:
        """Return the run that encodes a split."""
        settings = self.settings  # what is measured for them is measured before anything is compiled
        return SplitRun(
            split,
            self.encoders,
            self.targets,
            store=self.store,
            samples=samples,
            settings=settings,
            reporter=self.reporter,
            own=own,
        )

    def _seal_all(self, split: Split, ids: SampleIds, run: SplitRun, me: Maker) -> tuple[list[ExtractedSet], str]:
        """Seal and name a set for each target; return what was done, and the id of the data set."""
        content = content_of(split, ids, run.failed)
        for note in rows_not_trusted(self.store, self.targets) if run.own.encoded else ():
            self.reporter.note(note)
        return [self._seal(target, split, content, run, me) for target in self.targets], content.spec.id

    def _seal(self, target: Target, split: Split, content: Content, run: SplitRun, me: Maker) -> ExtractedSet:
        """Seal and name the set of one target."""
        check = run.checks[target.encoder_id]
        health = self._health(target, content, run.looks.summary(), self._goes_on(run.own))
        reused = reused_rows(target.index, content.ids, run.own.units)
        odd = check.remark(made_with(reused, self.settings.made_by))
        remarks = (*health.remarks(split.name, content.name_of), *([odd] if odd else []))
        name = self.names.of(target.spec, split)
        speed = {"encoded_in_ms": round(1000 * run.own.seconds)} if run.own.encoded else {}
        more = {"encoded": run.own.encoded, **speed, "reused": reused, "checked": check.recorded, **health.document}
        feature_set = self._sealed(target, content, name, more, me, self._goes_on(run.own))
        return ExtractedSet.of(
            feature_set,
            split.name,
            target.spec.tap,
            run.own.encoded,
            checked=check.rows,
            failed=len(content.failed),
            shared=health.shared_embeddings.shared,
            remarks=remarks,
        )

    def _goes_on(self, own: Own) -> Callable[[], None]:
        """Return what is called while a set is put together: whoever watches this process sees that it works."""

        def goes_on() -> None:
            own.goes_on()
            self.reporter.wait()

        return goes_on

    def _health(
        self, target: Target, content: Content, decoded: DecodedImages | None, goes_on: Callable[[], None]
    ) -> DataHealth:
        """Return what is odd about a set; if the store has it already, what was found then."""
        set_ = set_id(target.encoder_id, content.spec.id)
        with suppress(CryoprobeError):  # there is none yet, or it is damaged and will be made again
            feature_set = self.store.open(set_)
            known = DataHealth.recorded(feature_set.manifest.provenance.document, feature_set.rows)
            if known is not None and self.store.origin_of(feature_set) is None:
                return known
        return examine(target.index, content, decoded, goes_on)

    def _sealed(
        self,
        target: Target,
        content: Content,
        name: Name,
        more: Mapping[str, JsonValue],
        me: Maker,
        goes_on: Callable[[], None],
    ) -> FeatureSet:
        """Seal and name the set of one target; say how it differs from the one that had the name before."""
        earlier = self.names.called(name)
        feature_set, new = self.store.seal(
            target.index,
            encoder=target.spec.written,
            dataset=content.spec.written,
            ids=content.ids,
            labels=content.labels,
            failed=content.failed,
            chunk_rows=self.settings.unit_rows,
            provenance=provenance(
                _PACKAGES,
                name=name.model_dump(mode="json"),
                **({} if self.data.source is None else {"source": self.data.source}),
                batch_size=self.settings.batch_size.images,
                workers=self.settings.workers,
                device=str(self.encoder.device),
                **({"compiled": True} if self.running.compile else {}),
                **({"weights": notes} if (notes := notes_of(self.encoder)) else {}),
                **more,
            ),
            goes_on=goes_on,
        )
        before = next((n.set for n in earlier if n.encoder == target.encoder_id and n.set != feature_set.id), None)
        if new and before is not None:
            with suppress(CryoprobeError):  # an explanation is a courtesy: damage is reported where it matters
                why = explain_dataset(self.store.open(before), content.spec, content.ids, content.labels, name.split)
                if why:
                    self.reporter.note(why)
        self.names.give(feature_set, name, earlier, content.names, me)
        return feature_set
