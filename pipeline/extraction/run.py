"""The extraction of one call: each split is encoded where the store lacks it, then sealed and named for each tap."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from pydantic import JsonValue

from ...errors import BadInput, Conflict, CryoprobeError
from ...progress import Reporter
from ...stores.feature_set import FeatureSet
from ...stores.format.names import Maker, Name
from ...stores.local.sample_index import SampleIndex
from ...stores.store import RowsRemoved, Store, set_id
from ..datasets.base import Split
from ..encoders.base import Encoder, notes_of
from ..makers import this_machine
from ..options import ExtractionOptions
from ..provenance import provenance
from .content import Content, content_of
from .differences import explain_dataset
from .findings import DecodedImages
from .health import DataHealth, examine
from .naming import name_samples, name_set, rows_not_trusted
from .opening import Data
from .planner import Target
from .result import ExtractedSet
from .reuse import made_with, reused_rows
from .split_run import Own, Settings, SplitRun

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
    encoders : sequence of Encoder
        The same on each device.
    data : Data
    targets : list of Target
        One for each tap.
    store : Store
    asked : ExtractionOptions
    settings : Settings
    reporter : Reporter
    """

    model: str
    encoders: Sequence[Encoder]
    data: Data
    targets: list[Target]
    store: Store
    asked: ExtractionOptions
    settings: Settings
    reporter: Reporter

    @property
    def encoder(self) -> Encoder:
        """One of them: what is asked of them all."""
        return self.encoders[0]

    def run(self, samples: SampleIndex) -> list[ExtractedSet]:
        """Extract every split; return its sets, in the order of the taps."""
        splits = zip(self.data.parts, self.data.states, strict=True)
        return [extracted for split, state in splits for extracted in self._extract(split, state, samples)]

    def _extract(self, split: Split, state: bytes, samples: SampleIndex) -> list[ExtractedSet]:
        """Extract one split, again if rows that it reused were removed meanwhile."""
        started, own = time.monotonic(), Own()
        for _ in range(_MOST_REMOVALS):
            try:
                extracted = self._extract_once(split, state, samples, own)
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

    def _extract_once(self, split: Split, state: bytes, samples: SampleIndex, own: Own) -> list[ExtractedSet]:
        if not len(split):
            raise BadInput(f"Split {split.name!r} of {self.data.name} has no samples.", key=self.data.name)
        self.reporter.begin(f"{self.data.name} {split.name}", len(split))
        try:
            run = SplitRun(
                split,
                self.encoders,
                self.targets,
                store=self.store,
                samples=samples,
                settings=self.settings,
                reporter=self.reporter,
                own=own,
            )
            ids = run.run()
        finally:
            self.reporter.end()
        content = content_of(split, ids, run.failed)
        for note in rows_not_trusted(self.store, self.targets) if run.own.encoded else ():
            self.reporter.note(note)
        me = this_machine(samples, self.data.source)
        extracted = [self._seal(target, split, content, run, me) for target in self.targets]
        for remark in dict.fromkeys(remark for e in extracted for remark in e.remarks):
            self.reporter.note(remark)
        self._record_views(split, state, content, samples)
        return extracted

    def _record_views(self, split: Split, state: bytes, content: Content, samples: SampleIndex) -> None:
        """Let this machine know its content under every name that it has just got."""
        # A folder without options is listed again by stat calls; all else had to be opened, which `probe` must not do.
        name, source = self._name(self.targets[0], split), self.data.source
        for called in (name, *(() if source is None else (name.model_copy(update={"dataset": source}),))):
            listed = source if called is name and self.data.listed_again else None
            for view in (called.view, *(called.view_for(target.encoder_id) for target in self.targets)):
                samples.record_view(
                    view, split.sources, state, content.spec.id, keep=not self.data.listed_again, listed=listed
                )

    def _seal(self, target: Target, split: Split, content: Content, run: SplitRun, me: Maker) -> ExtractedSet:
        """Seal and name the set of one target."""
        check = run.checks[target.encoder_id]
        health = self._health(target, content, run.looks.summary())
        reused = reused_rows(target.index, content.ids, run.own.units)
        odd = check.remark(made_with(reused, self.settings.made_by))
        remarks = (*health.remarks(split.name, content.name_of), *([odd] if odd else []))
        name = self._name(target, split)
        more = {"encoded": run.own.encoded, "reused": reused, "checked": check.recorded, **health.document}
        feature_set = self._sealed(target, content, name, more, me)
        return ExtractedSet(
            set=feature_set.id,
            split=split.name,
            tap=target.spec.tap,
            rows=feature_set.rows,
            dim=feature_set.dim,
            encoded=run.own.encoded,
            reused=max(0, feature_set.rows - run.own.encoded),
            checked=check.rows,
            failed=len(content.failed),
            sealed=True,
            seconds=0.0,
            shared=health.shared_embeddings.shared,
            remarks=remarks,
        )

    def _health(self, target: Target, content: Content, decoded: DecodedImages | None) -> DataHealth:
        """Return what is odd about a set; if the store has it already, what was found then."""
        set_ = set_id(target.encoder_id, content.spec.id)
        with suppress(CryoprobeError):  # there is none yet, or it is damaged and will be made again
            feature_set = self.store.open(set_)
            known = DataHealth.recorded(feature_set.manifest.provenance.document, feature_set.rows)
            if known is not None and self.store.origin_of(feature_set) is None:
                return known
        return examine(target.index, content, decoded)

    def _name(self, target: Target, split: Split) -> Name:
        asked = self.asked
        return Name(
            model=self.model,
            dataset=self.data.name,
            split=split.name,
            tap=target.spec.tap,
            **asked.pixels,
            limit=asked.limit,
            limit_seed=None if asked.limit is None else asked.limit_seed,
            precision=target.spec.precision,
            stored_dtype=asked.stored_dtype,
            untrained=self.encoder.untrained,
            seed=self.encoder.seed,
            checkpoint=self.encoder.checkpoint_sha256,
            checkpoint_key=asked.checkpoint_key,
        )

    def _sealed(
        self, target: Target, content: Content, name: Name, more: Mapping[str, JsonValue], me: Maker
    ) -> FeatureSet:
        """Seal and name the set of one target; say how it differs from the one that had the name before."""
        earlier = self.store.find(**name.model_dump())
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
                **({"compiled": True} if "compiled" in self.settings.made_by else {}),
                **({"weights": notes} if (notes := notes_of(self.encoder)) else {}),
                **more,
            ),
        )
        before = next((n.set for n in earlier if n.encoder == target.encoder_id and n.set != feature_set.id), None)
        if new and before is not None:
            with suppress(CryoprobeError):  # an explanation is a courtesy: damage is reported where it matters
                why = explain_dataset(self.store.open(before), content.spec, content.ids, content.labels, name.split)
                if why:
                    self.reporter.note(why)
        for note in name_set(self.store, feature_set, name, earlier, me):
            self.reporter.note(note)
        for note in name_samples(self.store, feature_set, content.names):
            self.reporter.note(note)
        return feature_set
