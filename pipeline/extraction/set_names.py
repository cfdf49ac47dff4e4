"""What the sets of one extraction are called, and how they and their content are found again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...progress import Reporter
from ...stores.feature_set import FeatureSet
from ...stores.format.names import Maker, Name, NamedSet
from ...stores.local.looks import Look
from ...stores.local.sample_index import SampleIndex
from ...stores.store import Store
from ..datasets.base import Split
from ..encoders.known import KnownEncoder
from ..options import ExtractionOptions
from ..specs import EncoderSpec
from .content import names_of
from .hits import KeptSet
from .naming import name_samples, name_set
from .opening import Data
from .result import ExtractedSet


@dataclass(frozen=True)
class SetNames:
    """The names of the sets of one extraction.

    Parameters
    ----------
    model : str
        Name of the encoder.
    known : KnownEncoder
    data : Data
    asked : ExtractionOptions
    store : Store
    reporter : Reporter
        Is told what is to be said of a name.
    """

    model: str
    known: KnownEncoder
    data: Data
    asked: ExtractionOptions
    store: Store
    reporter: Reporter

    def of(self, spec: EncoderSpec, split: Split) -> Name:
        """Return the name of the set of a split at one tap."""
        asked, known = self.asked, self.known
        return Name(
            model=self.model,
            dataset=self.data.name,
            split=split.name,
            tap=spec.tap,
            **asked.pixels,
            limit=asked.limit,
            limit_seed=None if asked.limit is None else asked.limit_seed,
            **self.data.reading,
            precision=spec.precision,
            stored_dtype=asked.stored_dtype,
            untrained=known.untrained,
            seed=known.seed,
            checkpoint=known.checkpoint_sha256,
            checkpoint_key=asked.checkpoint_key,
        )

    def called(self, name: Name) -> list[NamedSet]:
        """Return the sets that have that very name."""
        same = self.store.find(model=name.model, dataset=name.dataset, split=name.split, tap=name.tap)
        return [n for n in same if n.name == name]

    def give(
        self, feature_set: FeatureSet, name: Name, earlier: Sequence[NamedSet], names: Sequence[str], me: Maker
    ) -> None:
        """Give a set a name, and keep what its samples are called."""
        for note in name_set(self.store, feature_set, name, earlier, me):
            self.reporter.note(note)
        for note in name_samples(self.store, feature_set, names):
            self.reporter.note(note)

    def again(self, kept: KeptSet, split: Split, me: Maker) -> ExtractedSet:
        """Give a set that the store has its name, which it may have already."""
        name, feature_set = self.of(kept.spec, split), kept.feature_set
        self.give(feature_set, name, self.called(name), names_of(split), me)
        return ExtractedSet.of(
            feature_set,
            split.name,
            kept.spec.tap,
            shared=kept.health.shared_embeddings.shared,
            remarks=kept.health.remarks(split.name, split.describe),
        )

    def record_views(
        self, specs: Sequence[EncoderSpec], split: Split, look: Look, dataset_id: str, samples: SampleIndex
    ) -> None:
        """Let this machine know its content under every name that it has just got."""
        # A folder without options is listed again by stat calls; all else had to be opened, which `probe` must not do.
        name, source = self.of(specs[0], split), self.data.source
        for called in (name, *(() if source is None else (name.model_copy(update={"dataset": source}),))):
            listed = source if called is name and self.data.listed_again else None
            for view in (called.view, *(called.view_for(spec.id) for spec in specs)):
                samples.record_view(
                    view, look.files, look.fingerprint, dataset_id, keep=not self.data.listed_again, listed=listed
                )
