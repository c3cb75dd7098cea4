"""Served: what a server's handshake says of its certificate, in words, with the CA that RDS calls it by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from . import certs
from .certs import Certificate, ChainVerdict
from .engines import Wire
from .errors import Unreachable

_OLD = ("SSLv3", "TLSv1", "TLSv1.1")


@dataclass(frozen=True)
class Served:
    """The certificate that a server shows, and how. *ca* is the CA id of RDS, ``None`` when RDS has no such root.

    *protocol* is the newest that the server offers, when the chain comes from a probe.
    """

    subject: str
    issuer: str
    ca: str | None
    expires: datetime
    names: tuple[str, ...]
    key: str
    protocol: str
    cipher: str
    verdict: ChainVerdict
    notes: tuple[str, ...]


def judge(wire: Wire, store: Sequence[Certificate], *, name: str, cas: Mapping[str, str], now: datetime) -> Served:
    """Judge what *wire* shows for the host *name*. *cas* gives the CA id to a root's SHA-1 (DescribeCertificates).

    A root that is not in the *store* is still named, if the server sends it along and it is one of *cas*. Raises
    ``Unreachable`` when what was served cannot be read.
    """
    try:
        chain = [certs.read_der(der) for der in wire.chain]
    except ValueError as e:
        raise Unreachable(f"what it serves as a certificate cannot be read ({e})") from None
    if not chain:
        raise Unreachable("it served no certificate")
    verdict = certs.judge_chain(chain, store, name=name, now=now)
    root = verdict.root or certs.judge_chain(chain, chain, name=name, now=now).root
    leaf = chain[0]
    return Served(
        subject=leaf.subject,
        issuer=leaf.issuer,
        ca=cas.get(root.sha1) if root else None,
        expires=leaf.not_after,
        names=leaf.names,
        key=leaf.key,
        protocol=wire.version,
        cipher=wire.cipher,
        verdict=verdict,
        notes=tuple(_notes(wire, chain, name)),
    )


def _notes(wire: Wire, chain: Sequence[Certificate], name: str) -> list[str]:
    """Say what is no fault, or not the certificate's, and still worth knowing."""
    notes = []
    if wire.version in _OLD:
        notes.append(f"it offers nothing newer than {wire.version}")
    if len(chain) == 1:
        notes.append("it serves its own certificate only")
    elif not any(c.is_root for c in chain):
        notes.append("it serves its chain without the root")
    if name.lower() not in (n.lower() for n in chain[0].names) and (stars := [n for n in chain[0].names if "*" in n]):
        notes.append(f"its certificate is for the wildcard {', '.join(stars)}")
    return notes
