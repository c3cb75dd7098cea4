"""The RDS CA bundle: fetched over HTTPS or read from a file, and refused unless it is whole and nothing else."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

from .. import catalogue
from ..catalogue import Catalogue
from ..certs import Certificate
from ..errors import Refused, UnknownRoot
from ..model import now
from . import download, roots
from .files import replace_whole


@dataclass(frozen=True)
class Bundle:
    """The certificates of a CA bundle, where they came from, and the SHA-256 of its bytes; *known* judges them."""

    certificates: tuple[Certificate, ...]
    source: str
    sha256: str
    text: str
    known: Catalogue = field(repr=False)

    def root(self, thumbprint: str) -> Certificate | None:
        """Find a root by the SHA-1 thumbprint that DescribeCertificates gives."""
        wanted = catalogue.digits(thumbprint)
        return next((c for c in self.certificates if c.is_root and c.sha1 == wanted), None)


def get(
    where: str,
    *,
    region: str,
    mirror: str = "",
    known: Catalogue | None = None,
    regions: Collection[str] | None = None,
) -> Bundle:
    """Get the bundle from "aws" (the global one of the partition of *region*, or a *mirror*'s), a URL or a file.

    It is compared with what is *known*. "aws" has to hold every root of its partition, a URL or a file those of
    *regions* (only *region* unless given). Raises ``Refused`` for a short body, an HTML page, a redirect to another
    host or to http, and for anything that is not CA certificates; ``UnknownRoot`` for a stranger or a missing root.
    A good download is kept; when a later one is refused, the message names that copy, and nothing uses it unasked.
    """
    known = roots.catalogue() if known is None else known
    of = catalogue.partition(region) if where == "aws" else ""
    where = _address(of, mirror, region) if where == "aws" else where
    kept = _copy_of(where) if download.is_url(where) else None
    try:
        data = download.load(where)
        bundle = read(data, download.shown(where), known)
        _require_whole(bundle, of=of, regions=(region,) if regions is None else regions)
    except (Refused, UnknownRoot) as e:
        if kept is None or not kept.exists():
            raise
        day = datetime.fromtimestamp(kept.stat().st_mtime, UTC)
        copy = f"the last good copy, of {day:%Y-%m-%d}, is {kept}; name it as bundle to use it"
        raise type(e)(e.what, f"{e.remedy}; {copy}" if e.remedy else copy) from None
    if kept:
        with contextlib.suppress(OSError):  # a copy for bad days; this run has what it needs
            kept.parent.mkdir(parents=True, exist_ok=True)
            replace_whole(kept, data)
    return bundle


def read(data: bytes, source: str, known: Catalogue | None = None) -> Bundle:
    """Read a bundle strictly, PEM or p7b: every block a certificate, every certificate a CA, no one twice."""
    certificates = download.parse(data, source)
    pem = data.startswith(b"-----BEGIN CERTIFICATE-----")
    text = data.decode("ascii") if pem else "".join(c.pem for c in certificates)
    known = roots.catalogue() if known is None else known
    return Bundle(certificates, source, hashlib.sha256(data).hexdigest(), text, known)


def require_root(bundle: Bundle, cas: Mapping[str, Mapping[str, str]], *, region: str, target_ca: str) -> Certificate:
    """Give the root of *target_ca* in *region*: the one in *bundle* whose SHA-1 RDS itself names as its thumbprint.

    *cas* is what DescribeCertificates answered there, a second and signed channel beside the download; the
    catalogue is the third. Raises ``Refused`` when RDS does not offer the CA in the region, ``UnknownRoot`` when
    the catalogue does not know what RDS names as that very root, or the bundle lacks it.
    """
    if target_ca not in cas:
        offered = ", ".join(sorted(cas)) or "none that could be read"
        raise Refused(f"RDS does not offer {target_ca} in {region}", f"it offers {offered}")
    thumbprint = cas[target_ca]["thumbprint"]
    held = bundle.root(thumbprint)
    fact = roots.require_known(
        bundle.known, region, target_ca, thumbprint=thumbprint, certificate=held, source=bundle.source
    )
    if held is None or held.sha256 != fact.sha256:
        raise UnknownRoot(
            f"RDS names {thumbprint} as the thumbprint of {target_ca} in {region}, and "
            f"{bundle.source} has no such root",
            "the bundle is stale, of another partition, or not AWS's: get it anew",
        )
    return held


def _require_whole(bundle: Bundle, *, of: str, regions: Collection[str]) -> None:
    found = catalogue.compare(bundle.certificates, bundle.known, of=of, regions=regions, now=now())
    if found.strangers:
        raise roots.unknown(f"{bundle.source} holds what nobody here knows", found.strangers, bundle.source)
    if found.missing:
        names = ", ".join(k.subject for k in found.missing[:3])
        more = f" and {len(found.missing) - 3} more" if len(found.missing) > 3 else ""
        raise UnknownRoot(
            f"{bundle.source} lacks {len(found.missing)} known root(s): {names}{more}",
            "it is cut, old, or of other regions; get it anew, and if AWS has withdrawn a root: rdsca roots refresh",
        )


def _address(partition: str, mirror: str, region: str) -> str:
    if mirror:
        return f"{mirror.rstrip('/')}/{download.GLOBAL_BUNDLE}"
    if partition not in download.TRUST_STORES:
        raise UnknownRoot(
            f"nobody here knows where AWS publishes the CA bundle for {region}",
            "name a file with its roots as bundle, and approve them: rdsca roots approve",
        )
    return f"{download.TRUST_STORES[partition]}/{download.GLOBAL_BUNDLE}"


def _copy_of(url: str) -> Path:
    """Name the file that keeps the last good download of *url*; neither a port nor a signature is part of it."""
    parts = urlsplit(url)
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "rdsca/bundles" / re.sub(r"[^A-Za-z0-9.-]+", "_", f"{parts.hostname}{parts.path}")[-120:]
