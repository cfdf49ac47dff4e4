"""On which file systems a file's dates tell that it was changed, and what tells it elsewhere.

A stat call tells a changed file because nobody can set its change time. That does not hold everywhere:

- An image of a file system that is read only (squashfs, an ISO image …) has the dates that its maker gave it. Made
  reproducibly, two versions agree in all that stat says. What tells them apart is which image is mounted: the file
  behind a loop device, or else the mount itself.
- FAT, and file systems that fetch their dates from somewhere (sshfs, rclone …), show a change time that was copied
  along with a file. There nothing is known without reading.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import re
import secrets
from contextlib import suppress
from pathlib import Path

_IMAGES = {"squashfs", "erofs", "iso9660", "udf", "cramfs", "romfs"}
_IMAGES |= {f"fuse.{name}" for name in ("squashfuse", "squashfuse_ll", "erofsfuse", "dwarfs", "fuseiso")}
_IMAGES |= {f"fuse.{name}" for name in ("archivemount", "fuse-archive", "fuse-zip", "mount-zip", "ratarmount")}

_CARRIED = {"vfat", "msdos", "exfat", "fuse.exfat", "fuse.sshfs", "fuse.rclone", "fuse.s3fs"}

_MOUNTS = Path("/proc/self/mountinfo")
_ESCAPED = re.compile(r"\\([0-7]{3})")
_PROCESS = secrets.token_hex(8)
"""Stands for a mount that nothing tells from a later one: what is known of its files ends with this process."""


class Mounts:
    """The file systems that are mounted, looked up once for each device."""

    def __init__(self) -> None:
        self._types: dict[int, str] | None = None
        self._images: dict[int, int] = {}

    def change_time(self, path: str | Path, status: os.stat_result) -> int | None:
        """Return what tells that a file was changed, beside its size, modification time and inode.

        Parameters
        ----------
        path : str or Path
        status : os.stat_result
            Of that file.

        Returns
        -------
        int or None
            Its change time in nanoseconds; a negative number for the image that it is part of; None if nothing tells.
        """
        kind = self._kind(status.st_dev)
        if kind in _CARRIED:
            return None
        if kind not in _IMAGES:
            return status.st_ctime_ns
        if status.st_dev not in self._images:
            told = _behind_loop(status.st_dev) or _mount_number(path) or _PROCESS
            number = int.from_bytes(hashlib.sha256(told.encode()).digest()[:8], "little")
            self._images[status.st_dev] = -(number >> 2) - 1
        return self._images[status.st_dev]

    def tells_changes(self, device: int) -> bool:
        """Return whether the change times of a device's files are what `change_time` returns."""
        kind = self._kind(device)
        return kind not in _CARRIED and kind not in _IMAGES

    def _kind(self, device: int) -> str:
        if self._types is None:
            self._types = _mounted_types()
        return self._types.get(device, "")


def _mounted_types() -> dict[int, str]:
    """Return the type of each mounted file system, by device; empty where the system does not tell."""
    found = {}
    with suppress(OSError):
        for line in _MOUNTS.read_text(errors="replace").splitlines():
            with suppress(ValueError, IndexError):
                before, _, after = line.partition(" - ")
                major, minor = before.split()[2].split(":")
                found[os.makedev(int(major), int(minor))] = after.split()[0]
    return found


def _behind_loop(device: int) -> str | None:
    """Return what stat says of the file behind a loop device."""
    with suppress(OSError):
        block = Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}/loop/backing_file")
        file = _ESCAPED.sub(lambda m: chr(int(m[1], 8)), block.read_text().strip())
        s = Path(file).stat()
        return repr((file, s.st_dev, s.st_ino, s.st_size, s.st_mtime_ns, s.st_ctime_ns))
    return None


_STATX_MNT_ID_UNIQUE = 0x4000
_AT_FDCWD = -100
_MASK, _MOUNT_ID, _SIZE = 0, 0x90, 256
"""Places in struct statx, of Linux's include/uapi/linux/stat.h: ``stx_mask``, ``stx_mnt_id``; and its size."""


def _mount_number(path: str | Path) -> str | None:
    """Return the number of a mount that no later one of this boot has; None where the kernel (before 6.8) has none."""
    with suppress(OSError, AttributeError):
        statx = ctypes.CDLL(None).statx
        buffer = ctypes.create_string_buffer(_SIZE)
        failed = statx(_AT_FDCWD, os.fsencode(path), 0, _STATX_MNT_ID_UNIQUE, buffer)
        mask = int.from_bytes(buffer.raw[_MASK : _MASK + 4], "little")
        if not failed and mask & _STATX_MNT_ID_UNIQUE:
            number = int.from_bytes(buffer.raw[_MOUNT_ID : _MOUNT_ID + 8], "little")
            return f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()} {number}"
    return None
