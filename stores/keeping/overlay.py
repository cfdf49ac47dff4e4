"""A view of a store from which some seals are hidden, and whose writes stay aside until they are published.

`repair` encodes on it what is lost: an extraction then finds neither the damaged sets nor the damaged units, and the
store itself is not touched before one has seen what came of it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

from ...errors import NotFound
from ..backends.backend import Backend, ObjectInfo
from ..backends.local import LocalBackend
from .quarantine import set_aside


class Overlay(Backend):
    """Storage that reads from `under`, and writes to a folder.

    Parameters
    ----------
    under : Backend
    folder : Path
        For what is written; empty.
    hidden : collection of str
        Keys of `under` that are not seen.
    """

    def __init__(self, under: Backend, folder: Path, hidden: Collection[str]) -> None:
        self.url = under.url
        self._under = under
        self._over = LocalBackend(folder)
        self._hidden = set(hidden)
        # Copies of what is below, made only when they are published: target -> source.
        self._links: dict[str, ObjectInfo] = {}

    def get(self, key: str, limit: int | None = None) -> bytes:  # noqa: D102
        if self._over.exists(key):
            return self._over.get(key, limit)
        if key in self._links:
            return self._under.get(self._links[key].key, limit)
        if key in self._hidden:
            raise NotFound(f"There is no object {key} in {self.url}.", key=key)
        return self._under.get(key, limit)

    def put(self, key: str, data: bytes) -> None:  # noqa: D102
        self._links.pop(key, None)
        self._over.put(key, data)

    def put_if_absent(self, key: str, data: bytes) -> bool:  # noqa: D102
        if self.exists(key):
            return False
        return self._over.put_if_absent(key, data)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:  # noqa: D102
        found = {info.key: info for info in self._under.list(prefix) if info.key not in self._hidden}
        found |= {info.key: info for info in self._over.list(prefix)}
        found |= {t: ObjectInfo(t, source.size) for t, source in self._links.items() if t.startswith(prefix)}
        yield from (found[key] for key in sorted(found))

    def delete(self, key: str) -> None:  # noqa: D102
        self._links.pop(key, None)
        self._over.delete(key)
        self._hidden.add(key)

    def copy(self, source: str, target: str) -> None:  # noqa: D102
        if self._over.exists(source):
            self._over.copy(source, target)
        elif source in self._links:
            self._links[target] = self._links[source]
        else:
            folder = source[: source.rfind("/") + 1]
            size = next((info.size for info in self._under.list(folder) if info.key == source), None)
            if size is None or source in self._hidden:
                raise NotFound(f"There is no object {source} in {self.url}.", key=source)
            self._links[target] = ObjectInfo(source, size)

    def exists(self, key: str) -> bool:  # noqa: D102
        below = key not in self._hidden and self._under.exists(key)
        return key in self._links or self._over.exists(key) or below

    def publish(self) -> None:
        """Write to the store below what was written here, data before seals.

        Names, claims and pins stay aside. A hidden seal is set aside and replaced; a unit that somebody has sealed
        meanwhile stays theirs.
        """
        for target, source in self._links.items():
            self._under.copy(source.key, target)
        written = [info.key for info in self._over.list()]
        for key in written:
            if key.startswith(("units/", "sets/")):
                self._under.put(key, self._over.get(key))
        for top in ("unit-seals/", "manifests/"):
            for key in (key for key in written if key.startswith(top)):
                if key in self._hidden:
                    set_aside(self._under, key)
                    self._under.put(key, self._over.get(key))
                else:
                    self._under.put_if_absent(key, self._over.get(key))
