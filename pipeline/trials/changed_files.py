"""Whether the files of a data set have changed since their features were extracted here: by stat calls only."""

from __future__ import annotations

from pathlib import Path

from ...errors import CryoprobeError, NotFound
from ...stores.feature_set import FeatureSet
from ...stores.format.names import NamedSet
from ...stores.local.looks import fingerprint
from .contents import recorded_view, sources_of
from .sets import TrialSets


def changes(sets: TrialSets, data_root: Path | None) -> list[str]:
    """Return a line for each data set that may have changed since it was extracted, or is gone."""
    parts = dict(sets.stored())
    found = [changed_since(parts[part], named, data_root) for part, named in sets.names.items()]
    return [note for note in found if note is not None]


def changed_since(feature_set: FeatureSet, named: NamedSet, data_root: Path | None) -> str | None:
    """Say whether the data set's files may have changed since they were extracted here, or are gone.

    By stat calls only. None where nothing has changed, and where they were not extracted on this machine.
    """
    name = named.name
    recorded = recorded_view(name, feature_set.encoder_id)
    if recorded is None or recorded.dataset_id != feature_set.dataset_id:
        return None
    which = f"The files of {name.dataset} ({name.split})"
    gone = f"{which} are not here any more: it cannot be told whether they have changed since they were extracted."
    try:
        sources = sources_of(recorded, name, data_root)
    except NotFound:
        return gone
    except CryoprobeError as e:
        return f"{which} cannot be looked at: {e.message}"
    if not sources or fingerprint(sources) == recorded.fingerprint:
        return None
    if not any(p.exists() for p in sources):
        return gone
    return (
        f"{which} may have changed since these features were extracted: their names, dates or sizes differ. "
        "extract reads them again, and encodes only what differs."
    )
