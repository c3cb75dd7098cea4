"""Files: written whole or not at all."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from ..errors import Damaged


def write_whole(path: Path, data: bytes, *, like: Path | None = None) -> None:
    """Write *data* to *path* so that a reader sees the old file or the new one, never a part.

    With *like*, owner, mode and extended attributes are copied from that file. Raises ``Damaged`` when the disk
    does not take it; the old file is then as it was, unless the message says that the new one is there.
    """
    try:
        lasts = replace_whole(path, data, like=like)
    except OSError as e:
        raise Damaged(f"{path} cannot be written ({e.strerror or e})", "the file is as it was before") from None
    if not lasts:
        raise Damaged(f"{path} is written, but the disk did not confirm that it lasts", "look at the disk")


def replace_whole(
    path: Path, data: bytes, *, like: Path | None = None, check: Callable[[Path], None] | None = None
) -> bool:
    """Do as :func:`write_whole`, and raise the system's own ``OSError``: the old file is then as it was.

    *check* looks at the finished temporary file before it takes the old one's place; what it raises stops the
    change. False when the new file stands, and only the disk's word that it outlasts a power cut is missing.
    """
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    try:
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
        if check:
            check(Path(temporary))
        Path(temporary).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(temporary).unlink(missing_ok=True)
        raise
    try:
        sync_folder(path.parent)
    except OSError:
        return False
    return True


def sync_folder(folder: Path) -> None:
    """Make a rename in *folder* last through a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
