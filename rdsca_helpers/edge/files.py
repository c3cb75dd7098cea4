"""Files: written whole or not at all."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from pathlib import Path

from ..errors import Damaged


def write_whole(path: Path, data: bytes, *, like: Path | None = None) -> None:
    """Write *data* to *path* so that a reader sees the old file or the new one, never a part.

    With *like*, owner, mode and extended attributes are copied from that file. Raises ``Damaged`` when the disk
    does not take it; the old file is then as it was.
    """
    temporary = ""
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if like:
            info = like.stat()
            os.chown(temporary, info.st_uid, info.st_gid)
            shutil.copystat(like, temporary)  # mode and extended attributes, ACLs among them; times are set anew
            os.utime(temporary)
        else:
            Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
        sync_folder(path.parent)
    except OSError as e:
        with contextlib.suppress(OSError):
            Path(temporary).unlink(missing_ok=True)
        raise Damaged(f"{path} cannot be written ({e.strerror or e})", "the file is as it was before") from None


def sync_folder(folder: Path) -> None:
    """Make a rename in *folder* last through a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
