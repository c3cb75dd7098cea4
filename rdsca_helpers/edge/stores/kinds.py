"""Kinds of trust store: one file each in this folder; the files are found by themselves."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

from ...model import Secret
from ...trust import Contents, Root


@dataclass(frozen=True)
class Kind:
    """A kind of store, as functions from bytes to bytes: nothing here touches a file.

    *families* are the client families that read such a store. *recognise* goes by content, never by name. *read* and
    the changing functions take the password where the kind has one, and raise ``Refused`` (wrong password, damaged,
    a format not spoken) with the remedy. ``None`` where rdsca does not write the kind: then *command* gives the
    exact line that does, for a path, a certificate file and an alias.
    """

    name: str
    families: tuple[str, ...]
    recognise: Callable[[bytes], bool]
    read: Callable[[bytes, Secret | None], Contents] | None = None
    add: Callable[[bytes, Sequence[Root], Secret | None], bytes] | None = None
    remove: Callable[[bytes, frozenset[str], Secret | None], bytes] | None = None
    build: Callable[[Sequence[Root], Secret | None], bytes] | None = None
    command: Callable[[str, str, str], str] | None = None
    has_password: bool = False
    rank: int = 50


@cache
def all_kinds() -> tuple[Kind, ...]:
    """Find every kind: each module of this package names its own in ``KINDS``. The strictest recognisers come first."""
    package = __name__.rpartition(".")[0]
    modules = [importlib.import_module(f"{package}.{m.name}") for m in pkgutil.iter_modules(_path())]
    kinds = [kind for module in modules for kind in getattr(module, "KINDS", ())]
    return tuple(sorted(kinds, key=lambda kind: kind.rank))


def recognise(data: bytes) -> Kind | None:
    """Say what kind of store *data* is, by its content; ``None`` when it is none that rdsca knows."""
    return next((kind for kind in all_kinds() if kind.recognise(data)), None)


def _path() -> list[str]:
    return list(importlib.import_module(__name__.rpartition(".")[0]).__path__)
