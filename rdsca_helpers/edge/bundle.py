"""The RDS CA bundle: fetched over HTTPS or read from a file, and refused unless it is whole and nothing else."""

from __future__ import annotations

import hashlib
import http.client
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

from ..certs import Certificate, read_pem
from ..errors import Refused, UnknownRoot, UsageError

_SMALLEST, _LARGEST = 600, 2 << 20
_PATIENCE = 20.0  # seconds without a byte, and seconds for the body as a whole
_PARTITIONS = (
    ("us-gov-", "https://truststore.pki.us-gov-west-1.rds.amazonaws.com/global/global-bundle.pem"),
    ("cn-", "https://rds-truststore.s3.cn-north-1.amazonaws.com.cn/global/global-bundle.pem"),
    ("", "https://truststore.pki.rds.amazonaws.com/global/global-bundle.pem"),
)


@dataclass(frozen=True)
class Bundle:
    """The certificates of a CA bundle, where they came from, and the SHA-256 of its bytes."""

    certificates: tuple[Certificate, ...]
    source: str
    sha256: str
    text: str

    def root(self, thumbprint: str) -> Certificate | None:
        """Find a root by the SHA-1 thumbprint that DescribeCertificates gives."""
        return next((c for c in self.certificates if c.is_root and c.sha1 == thumbprint.lower()), None)


def get(where: str, *, region: str, mirror: str = "") -> Bundle:
    """Get the bundle from "aws" (AWS's address for the partition of *region*, or a *mirror*), a URL or a file.

    Source of the addresses: "Using SSL/TLS to encrypt a connection to a DB instance". Raises ``Refused`` for a
    short body, an HTML page, a redirect to another host or to http, and for anything that is not certificates.
    """
    if where == "aws":
        where = f"{mirror.rstrip('/')}/global/global-bundle.pem" if mirror else _address(region)
    if where.startswith(("http://", "https://")):
        data = _download(where)
    else:
        try:
            data = Path(where).expanduser().read_bytes()
        except OSError as e:
            raise UsageError(f"the CA bundle {where} cannot be read ({e.strerror})") from None
    return read(data, where)


def read(data: bytes, source: str) -> Bundle:
    """Read a bundle strictly: every block a certificate, every certificate a CA, no one twice."""
    if not _SMALLEST <= len(data) <= _LARGEST:
        raise Refused(f"{source} holds {len(data)} bytes; an RDS CA bundle has between {_SMALLEST} and {_LARGEST}")
    try:
        text = data.decode("ascii")
    except UnicodeDecodeError:
        raise Refused(f"{source} is not a PEM bundle") from None
    certificates, complaints = read_pem(text)
    if complaints or not certificates:
        raise Refused(f"{source} is not a clean PEM bundle: {'; '.join(complaints) or 'no certificate in it'}")
    if strangers := [c.subject for c in certificates if not c.is_ca]:
        raise Refused(f"{source} holds certificates that are no CA: {', '.join(strangers[:3])}")
    if len({c.sha256 for c in certificates}) < len(certificates):
        raise Refused(f"{source} holds a certificate twice")
    return Bundle(tuple(certificates), source, hashlib.sha256(data).hexdigest(), text)


def require_root(bundle: Bundle, cas: Mapping[str, Mapping[str, str]], *, region: str, target_ca: str) -> Certificate:
    """Give the root of *target_ca* in *region*: the one in *bundle* whose SHA-1 RDS itself names as its thumbprint.

    *cas* is what DescribeCertificates answered there, a second and signed channel beside the download. Raises
    ``Refused`` when RDS does not offer the CA in the region, ``UnknownRoot`` when the bundle lacks what it names.
    """
    if target_ca not in cas:
        offered = ", ".join(sorted(cas)) or "none that could be read"
        raise Refused(f"RDS does not offer {target_ca} in {region}", f"it offers {offered}")
    root = bundle.root(cas[target_ca]["thumbprint"])
    if root is None:
        raise UnknownRoot(
            f"RDS names {cas[target_ca]['thumbprint']} as the thumbprint of {target_ca} in {region}, and "
            f"{bundle.source} has no such root",
            "the bundle is stale, of another partition, or not AWS's: get it anew",
        )
    return root


def _address(region: str) -> str:
    return next(url for prefix, url in _PARTITIONS if region.startswith(prefix))


class _SameHost(urllib.request.HTTPRedirectHandler):
    """Follow a redirect only to the same host over https: a captive portal's page is no bundle."""

    def redirect_request(self, req: urllib.request.Request, *rest: Any) -> urllib.request.Request | None:
        old, new = urlsplit(req.full_url), urlsplit(urljoin(req.full_url, rest[-1]))
        if (new.scheme, new.hostname) != (old.scheme, old.hostname):
            there = f"{new.scheme}://{new.hostname}"
            raise Refused(f"{req.full_url} redirects to {there}", "name the address of the bundle itself")
        return super().redirect_request(req, *rest)


def _download(url: str) -> bytes:
    """Fetch *url* with the system's CAs, in bounded time and size. Plain http is taken from this machine only."""
    parts = urlsplit(url)
    if parts.scheme != "https" and parts.hostname not in ("127.0.0.1", "::1", "localhost"):
        raise UsageError(f"the CA bundle is fetched over https only, not from {url}")
    opener = urllib.request.build_opener(_SameHost)
    try:
        with opener.open(url, timeout=_PATIENCE) as answer:
            end, data = time.monotonic() + _PATIENCE, b""
            while len(data) <= _LARGEST and (part := answer.read1(65536)):
                data += part
                if time.monotonic() > end:  # a server that sends a byte now and then never runs into the timeout
                    raise TimeoutError
            promised = int(answer.headers.get("Content-Length", len(data)))
    except urllib.error.HTTPError as e:
        raise Refused(f"{url} answered {e.code}") from None
    except (OSError, http.client.HTTPException, ValueError) as e:
        raise Refused(
            f"{url} could not be fetched ({type(e).__name__})", "download it elsewhere, and name the file as bundle"
        ) from None
    if promised != len(data):
        raise Refused(f"{url} broke off: {len(data)} of {promised} bytes came")
    return data
