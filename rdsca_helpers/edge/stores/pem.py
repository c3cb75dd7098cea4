"""PEM trust stores (libpq, MySQL clients, Node, curl, Python): read as OpenSSL would, add and lose nothing."""

from __future__ import annotations

import base64
import re
import ssl
import tempfile
from collections.abc import Iterator, Sequence

from ...certs import REFUSED, read_der, read_pem
from ...errors import Refused
from ...model import Secret
from ...trust import Contents, Entry, Root
from .kinds import Kind

_BLOCK = re.compile(
    rb"^-----BEGIN (?P<label>(?:X509 |TRUSTED )?CERTIFICATE)-----[ \t]*\r?$(?P<body>.*?)"
    rb"^-----END (?P=label)-----[ \t]*\r?(?:\n|\Z)",
    re.S | re.M,
)
_LABEL = re.compile(rb"-----BEGIN (?:X509 |TRUSTED )?CERTIFICATE-----")
_PAGE = re.compile(rb"(?:\xef\xbb\xbf)?\s*<(?:!doctype|!--|html|\?xml)", re.I)
_OTHER_LABEL = re.compile(r"\((?:X509|TRUSTED) CERTIFICATE\)$")
_PLAIN = re.compile(  # lines of comment and CERTIFICATE blocks that every reader takes; Java takes a first 0 for DER
    rb"(?:(?![-0])(?![^\n]*-----)[^\r\n\0]{0,200}(?:\r?\n|\Z)"
    rb"|-----BEGIN CERTIFICATE-----\r?\n(?:[A-Za-z0-9+/=]{1,64}\r?\n)+-----END CERTIFICATE-----(?:\r?\n|\Z))*+"
)
_BEGIN_FOR_GNUTLS = re.compile(rb"-----BEGIN (?:X509 |TRUSTED )?CERTIFICATE")
_PASSED_OVER = ": a block of another kind ("  # a private key, say: clients read on
_KEY = re.compile(r"\((?:[A-Z0-9]+ )*PRIVATE KEY\)$")
_MARK = b"\xef\xbb\xbf"
_COMMENT = b"# added by rdsca"
_FOR_SERVERS = (bytes.fromhex("06082b06010505070301"), bytes.fromhex("0604551d2500"))  # serverAuth, any usage


def recognise(data: bytes) -> bool:
    """Tell a text that holds a certificate in PEM; the page of a captive portal is none, whatever it quotes."""
    return bool(_LABEL.search(data)) and not _PAGE.match(data)


def read(data: bytes, _: Secret | None = None) -> Contents:
    """Read what OpenSSL would load of *data*; private keys are counted and never shown."""
    certificates, said = read_pem(_text(data))
    entries = [Entry(c) for c in certificates]
    complaints = [c for c in said if not _OTHER_LABEL.search(c)]
    for block in _BLOCK.finditer(data.removeprefix(_MARK)):
        if block["label"] != b"CERTIFICATE":
            try:
                entries.append(_entry(block))
            except ValueError:
                complaints.append(f"a block {block['label'].decode()} is no certificate, and {REFUSED}")
    if b"\0" in data:
        complaints.append(f"line {data.count(bytes([10]), 0, data.index(0)) + 1}: a NUL byte, and {REFUSED}")
    keys = sum(bool(_KEY.search(c)) for c in complaints)
    if _PLAIN.fullmatch(data):
        return Contents("pem", tuple(entries), tuple(complaints), keys)
    if entries and not any(c.endswith(REFUSED) for c in complaints) and (why := _refused(data)):
        complaints.append(f"{why}, and {REFUSED}")
    return Contents("pem", tuple(entries), tuple(complaints), keys, refused_by=_refused_by(data))


def _refused(data: bytes) -> str:
    """Ask OpenSSL itself whether it loads a file of *data*; give its reason where it does not.

    Only a file will do: what OpenSSL takes from memory, it reads by other rules.
    """
    with tempfile.NamedTemporaryFile(prefix="rdsca-") as file:
        file.write(data)
        file.flush()
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=file.name)
        except ssl.SSLError as e:
            return f"a block in it does not read ({e.reason or 'no reason given'})"
    return ""


def _refused_by(data: bytes) -> dict[str, str]:
    """Say which other clients do not load a PEM file that is not plain; measured with GnuTLS 3.7 and JDK 17.

    GnuTLS looks for a certificate's BEGIN wherever it stands, and stops at the first that does not read.
    """
    plain = sum(block["label"] != b"TRUSTED CERTIFICATE" for block in _BLOCK.finditer(data))
    refused = {"java": "it is more than CERTIFICATE blocks and lines of comment, which Java does not read safely"}
    if len(_BEGIN_FOR_GNUTLS.findall(data)) != plain:
        refused["gnutls"] = "it holds other blocks than plain certificates, which GnuTLS does not read"
    return refused


def add(data: bytes, roots: Sequence[Root], _: Secret | None = None) -> bytes:
    """Append the *roots* that are not there yet, each below a line of comment; what is there stays byte for byte.

    Raises ``Refused`` where OpenSSL would not load what is there: more roots would not help its clients.
    """
    _require_clean(data)
    there = {c.sha256 for c in read(data).certificates}
    new = {root.certificate.sha256: root for root in roots if root.certificate.sha256 not in there}
    gap = b"" if not data or data.endswith(b"\n") else b"\n"
    return data + gap + b"".join(_comment(r) + r.certificate.pem.encode() for r in new.values()) if new else data


def remove(data: bytes, sha256s: frozenset[str], _: Secret | None = None) -> bytes:
    """Take out the certificates named by their SHA-256, with the comment that rdsca put above; nothing else moves."""
    _require_clean(data)
    kept: list[bytes] = []
    for text, sha256 in _parts(data):
        if sha256 not in sha256s:
            kept.append(text)
        elif (above := kept[-1].splitlines(keepends=True)) and above[-1].startswith(_COMMENT):
            kept[-1] = b"".join(above[:-1])
    return b"".join(kept)


def build(roots: Sequence[Root], _: Secret | None = None) -> bytes:
    """Write *roots* as every reader takes them: LF, ASCII, sorted by alias, each once, no text around."""
    ordered = sorted(roots, key=lambda root: root.alias)
    return "".join(dict.fromkeys(root.certificate.pem for root in ordered)).encode()


def _parts(data: bytes) -> Iterator[tuple[bytes, str]]:
    """Cut *data* at its certificates, each with its SHA-256; the text before and between them comes with none."""
    mark = _MARK if data.startswith(_MARK) else b""
    yield mark, ""
    text, done = data.removeprefix(mark), 0
    for block in _BLOCK.finditer(text):
        yield text[done : block.start()], ""
        yield block[0], _entry(block).certificate.sha256
        done = block.end()
    yield text[done:], ""


def _entry(block: re.Match[bytes]) -> Entry:
    """Read one block; what follows the certificate in a TRUSTED one says whether OpenSSL takes it for servers."""
    der = base64.b64decode(b"".join(block["body"].split()), validate=True)
    end = _end_of_first(der)
    anchor = _trusts_servers(der[end:]) if block["label"].startswith(b"TRUSTED") else True
    return Entry(read_der(der[:end]), anchor=anchor)


def _trusts_servers(settings: bytes) -> bool:
    """Judge the X509_CERT_AUX after a TRUSTED certificate: usages trusted (a SEQUENCE) and rejected (a [0]), if any."""
    lists = {}
    if settings:
        inner = settings[_header(settings) :]
        while inner[:1] in (b"\x30", b"\xa0"):
            end = _end_of_first(inner)
            lists[inner[:1]], inner = inner[:end], inner[end:]
    trusted, rejected = lists.get(b"\x30"), lists.get(b"\xa0", b"")
    return not any(u in rejected for u in _FOR_SERVERS) and (trusted is None or any(u in trusted for u in _FOR_SERVERS))


def _header(der: bytes) -> int:
    """Give the length of a DER element's tag and length octets."""
    return 2 + (der[1] & 0x7F if len(der) > 1 and der[1] & 0x80 else 0)


def _end_of_first(der: bytes) -> int:
    head = _header(der)
    end = head + (int.from_bytes(der[2:head], "big") if head > 2 else der[1] if len(der) > 1 else 0)
    if end > len(der) or len(der) < 2:
        raise ValueError("cut off")
    return end


def _require_clean(data: bytes) -> None:
    complaints = read(data).complaints
    wrong = [c for c in complaints if _PASSED_OVER not in c]
    if not wrong:
        return
    lines = _suspect_lines(data)
    where = f" (look at line {', '.join(map(str, lines))})" if lines else ""
    raise Refused(f"the PEM text is not clean: {'; '.join(wrong)}{where}", "mend it by hand first")


def _suspect_lines(data: bytes) -> list[int]:
    """Give the numbers of lines whose BEGIN or END is not alone on its line, and of blocks that do not end."""
    found, begun = [], 0
    for number, line in enumerate(re.split(r"\r\n|\n", _text(data.removeprefix(_MARK))), 1):
        marks = line.count("-----BEGIN ") + line.count("-----END ")
        if marks and not re.fullmatch(r"-----(BEGIN|END) [A-Z0-9 ]+-----[ \t]*", line):
            found.append(number)
        elif line.startswith("-----BEGIN "):
            found += [begun] if begun else []
            begun = number
        elif marks:
            begun = 0
    return sorted({*found, *([begun] if begun else [])})


def _comment(root: Root) -> bytes:
    """Say where the block below comes from. A subject may hold line feeds and dashes, which would begin a block."""
    said = f" ({root.ca}, {root.region}): {root.certificate.subject}"
    plain = "".join(c if c.isprintable() else " " for c in said)
    return _COMMENT + re.sub(r"--+", " ", plain).encode() + b"\n"


def _text(data: bytes) -> str:
    return data.decode("ascii", errors="surrogateescape")


KINDS = (Kind("pem", ("openssl", "openssl-partial", "gnutls"), recognise, read, add, remove, build, rank=60),)
