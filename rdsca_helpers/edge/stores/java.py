"""What Java's two keystore formats, JKS and PKCS#12, have in common: default passwords, aliases, refusals."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from ...certs import Certificate, read_der
from ...der import Broken
from ...errors import Refused
from ...model import Secret
from ...trust import JAVA_REFUSED, Entry, Root

DEFAULT = "changeit"  # the password of Java's own cacerts, which most stores with certificates only have kept
MOST = 100_000  # entries; a store that claims more is none
UNCHECKED = (
    f"its integrity was not checked: its password is neither {DEFAULT} nor empty; give it by env:NAME or file:PATH"
)
_GIVE = "give the store's password by env:NAME or file:PATH"


def passwords(password: Secret | None) -> tuple[str, ...]:
    """Give the passwords to try: the one that was given, or the ones that are tried when none was."""
    return (DEFAULT, "") if password is None else (password.reveal(),)


def wrong_password(password: Secret | None) -> Refused:
    """Make the error for a password that does not fit."""
    which = f"its password is neither {DEFAULT} nor empty" if password is None else "the password does not fit"
    return Refused(f"{which}, or the keystore is damaged", _GIVE)


def damaged(error: ValueError) -> Refused:
    """Make the error for a keystore that does not read, with the reason if it is one for users."""
    why = f" ({error})" if isinstance(error, Broken) else ""
    return Refused(f"the keystore is cut off or damaged{why}", "take it from a backup or make it again")


def entry(der: bytes, alias: str, *, anchor: bool) -> Entry | str:
    """Read a certificate of a keystore; where it cannot be read, give the complaint: Java stops there (measured)."""
    try:
        return Entry(read_der(der), alias, anchor)
    except ValueError:
        return f"the certificate of the entry {alias!r} cannot be read, and {JAVA_REFUSED}"


def new_entries(
    roots: Sequence[Root], there: Collection[str], aliases: Collection[str]
) -> list[tuple[str, Certificate]]:
    """Give each root that is not *there* by its SHA-256, once, with an alias that is not among the *aliases*.

    Java tells aliases apart in lower case only.
    """
    new = {r.certificate.sha256: r for r in sorted(roots, key=lambda r: r.alias) if r.certificate.sha256 not in there}
    taken = {alias.lower() for alias in aliases}
    named = []
    for root in new.values():
        alias, number = root.alias, 1
        while alias in taken:
            number += 1
            alias = f"{root.alias}-{number}"
        taken.add(alias)
        named.append((alias, root.certificate))
    return named
