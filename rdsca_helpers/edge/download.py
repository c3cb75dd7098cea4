"""CA certificates from outside: fetched in bounded time and size or read from a file, and then read strictly."""

from __future__ import annotations

import http.client
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

from ..certs import Certificate, read_pem
from ..errors import Refused, UsageError
from .stores import p7b

_SMALLEST, LARGEST = 300, 2 << 20  # bytes of a bundle
_PATIENCE = 20.0  # seconds without a byte, and seconds for the body as a whole
_LOOPBACK = ("127.0.0.1", "::1", "localhost")
# "Using SSL/TLS to encrypt a connection to a DB instance", and its China edition. Below each address lie
# global/global-bundle and REGION/REGION-bundle, as .pem and as .p7b.
TRUST_STORES: Mapping[str, str] = {
    "aws": "https://truststore.pki.rds.amazonaws.com",
    "aws-us-gov": "https://truststore.pki.us-gov-west-1.rds.amazonaws.com",
    "aws-cn": "https://rds-truststore.s3.cn-north-1.amazonaws.com.cn",
}
GLOBAL_BUNDLE = "global/global-bundle.pem"


def is_url(where: str) -> bool:
    """Tell an address from the name of a file."""
    return where.startswith(("http://", "https://"))


def shown(where: str) -> str:
    """Give an address as it may be shown and kept: what follows a question mark may be a signature."""
    return where.partition("?")[0] if is_url(where) else where


def load(where: str) -> bytes:
    """Fetch a URL or read a file; raises ``Refused`` for a bad download, ``UsageError`` for a missing file."""
    if is_url(where):
        return _fetch(where)
    try:
        with Path(where).expanduser().open("rb") as file:
            return file.read(LARGEST + 1)
    except OSError as e:
        raise UsageError(f"the CA bundle {where} cannot be read ({e.strerror})") from None


def parse(data: bytes, source: str) -> tuple[Certificate, ...]:
    """Read PEM or PKCS#7 strictly: nothing but certificates, every one a CA, no one twice; ``Refused`` with the reason.

    A bundle that was cut between two certificates reads well: only the catalogue tells that it is not whole.
    """
    if not _SMALLEST <= len(data) <= LARGEST:
        size = f"more than {LARGEST}" if len(data) > LARGEST else str(len(data))
        raise Refused(f"{source} holds {size} bytes; an RDS CA bundle has between {_SMALLEST} and {LARGEST}")
    found = _from_p7b(data, source) if p7b.recognise(data) else _from_pem(data, source)
    if strangers := [c.subject for c in found if not c.is_ca]:
        raise Refused(f"{source} holds certificates that are no CA: {', '.join(strangers[:3])}")
    if len({c.sha256 for c in found}) < len(found):
        raise Refused(f"{source} holds a certificate twice")
    return found


def _from_p7b(data: bytes, source: str) -> tuple[Certificate, ...]:
    try:
        return tuple(e.certificate for e in p7b.read(data).entries)
    except Refused as e:
        raise Refused(f"{source}: {e.what}", e.remedy) from None


def _from_pem(data: bytes, source: str) -> tuple[Certificate, ...]:
    if data[:2] == b"\x1f\x8b":
        raise Refused(f"{source} is compressed (gzip)", "unpack it")
    if data.lstrip()[:1] == b"<":
        raise Refused(f"{source} is a web page, not a CA bundle", "a proxy or a network that wants a login answered")
    try:
        certificates, complaints = read_pem(data.decode("ascii"))
    except UnicodeDecodeError:
        raise Refused(f"{source} is not a PEM bundle") from None
    if complaints or not certificates:
        raise Refused(f"{source} is not a clean PEM bundle: {'; '.join(complaints) or 'no certificate in it'}")
    return tuple(certificates)


class _SameHost(urllib.request.HTTPRedirectHandler):
    """Follow a redirect only to the same host over the same scheme: a captive portal's page is no bundle."""

    def redirect_request(self, req: urllib.request.Request, *rest: Any) -> urllib.request.Request | None:
        old, new = urlsplit(req.full_url), urlsplit(urljoin(req.full_url, rest[-1]))
        if (new.scheme, new.hostname) != (old.scheme, old.hostname):
            there = f"{new.scheme}://{new.hostname}"
            raise Refused(f"{shown(req.full_url)} redirects to {there}", "name the address of the bundle itself")
        return super().redirect_request(req, *rest)


def _fetch(url: str) -> bytes:
    """Fetch *url* with the system's CAs. Plain http is taken from this machine only, and then past any proxy."""
    parts, source = urlsplit(url), shown(url)
    if parts.scheme != "https" and parts.hostname not in _LOOPBACK:
        raise UsageError(f"the CA bundle is fetched over https only, not from {source}")
    direct = [urllib.request.ProxyHandler({})] if parts.scheme == "http" else []
    opener = urllib.request.build_opener(_SameHost, *direct)
    try:
        with opener.open(url, timeout=_PATIENCE) as answer:
            end, data = time.monotonic() + _PATIENCE, b""
            while len(data) <= LARGEST and (part := answer.read1(65536)):
                data += part
                if time.monotonic() > end:  # a server that sends a byte now and then never runs into the timeout
                    raise TimeoutError("it sends too slowly")
            promised, chunked = answer.headers.get("Content-Length"), answer.chunked
            length = int(promised or len(data))
    except urllib.error.HTTPError as e:
        raise Refused(f"{source} answered {e.code}") from None
    except (OSError, http.client.HTTPException, ValueError) as e:
        why = getattr(e, "reason", "") or e or type(e).__name__
        raise Refused(
            f"{source} could not be fetched ({why})", "download it elsewhere, and name the file as bundle"
        ) from None
    if promised is None and not chunked:
        raise Refused(f"{source} does not say how long it is, so nobody can tell whether it is whole")
    if length != len(data) and len(data) <= LARGEST:
        raise Refused(f"{source} broke off: {len(data)} of {length} bytes came")
    return data
