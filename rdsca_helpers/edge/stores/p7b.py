"""PKCS#7 bundles of certificates (.p7b), as Windows takes them: read and written, never added to."""

from __future__ import annotations

import shlex
import warnings
from collections.abc import Callable, Sequence

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7
from cryptography.utils import CryptographyDeprecationWarning

from ...certs import read_der
from ...errors import Refused
from ...model import Secret
from ...trust import Contents, Entry, Root
from .kinds import Kind

_BEGIN = b"-----BEGIN PKCS7-----"
_SIGNED_DATA = bytes.fromhex("06092a864886f70d010702")


def recognise(data: bytes) -> bool:
    """Tell PKCS#7 by its PEM label, or by the OID of signed-data at the head of its DER."""
    return _BEGIN in data[:4096] or (data[:1] == b"\x30" and _SIGNED_DATA in data[2:17])


def read(data: bytes, _: Secret | None = None) -> Contents:
    """Read the certificates of a bundle; raises ``Refused`` when it is cut off or damaged."""
    load: Callable[[bytes], list[x509.Certificate]] = (
        pkcs7.load_pem_pkcs7_certificates if _BEGIN in data else pkcs7.load_der_pkcs7_certificates
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # serial number 0 (Starfield G2), and OpenSSL's own bundles, which are BER
        try:
            found = [read_der(c.public_bytes(Encoding.DER)) for c in load(data)]
        except (ValueError, x509.InvalidVersion):
            raise Refused("the PKCS#7 bundle is cut off or damaged", "export it again") from None
    return Contents("p7b", tuple(Entry(c) for c in found))


def build(roots: Sequence[Root], _: Secret | None = None) -> bytes:
    """Write *roots* as PKCS#7 in PEM, as AWS publishes its own; the same roots give the same bytes."""
    return _serialize(roots, Encoding.PEM)


def build_der(roots: Sequence[Root]) -> bytes:
    """Write *roots* as PKCS#7 in DER, which every version of Windows opens by a double click."""
    return _serialize(roots, Encoding.DER)


def command(path: str, certificate: str, _: str) -> str:
    """Say how a bundle is looked at, made anew, and brought into Windows' store; adding in place is not done.

    A bundle is an export: what counts is the store that it was imported into, and importing twice does no harm.
    """
    return "\n".join(
        [
            f"openssl pkcs7 -print_certs -noout -in {shlex.quote(path)}",
            f"certutil.exe -addstore Root {shlex.quote(certificate)}",
        ]
    )


def _serialize(roots: Sequence[Root], encoding: Encoding) -> bytes:
    ders = {root.certificate.der: None for root in sorted(roots, key=lambda root: root.alias)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CryptographyDeprecationWarning)
        return pkcs7.serialize_certificates([x509.load_der_x509_certificate(der) for der in ders], encoding)


KINDS = (Kind("p7b", ("windows",), recognise, read, build=build, command=command),)
