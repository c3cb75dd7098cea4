"""DER, as much of it as PKCS#12 files need: elements with their exact bytes, read strictly and written. Pure.

The indefinite lengths and the strings in pieces of BER are read too, because Bouncy Castle and NSS write them.
Rules: ITU-T X.690. All that is broken raises ``ValueError``, and no length that a file claims costs memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

INTEGER, OCTET_STRING, NULL, OID, BMP_STRING, SEQUENCE, SET = 0x02, 0x04, 0x05, 0x06, 0x1E, 0x30, 0x31
MOST = 100_000  # elements in a row
_DEEPEST = 16  # elements of indefinite length inside each other
_LARGEST_INDEFINITE = 1 << 20  # bytes: their end is found only by a walk over all that they hold
_END = b"\0\0"


def context(number: int) -> int:
    """Give the tag ``[number]`` around another element."""
    return 0xA0 | number


class Broken(ValueError):
    """What is wrong with the data, in words for a user."""


@dataclass(frozen=True, slots=True)
class Element:
    """One element: its tag, its content, and in *raw* the whole of it as it stands in the file."""

    tag: int
    content: bytes
    raw: bytes

    def parts(self, tag: int = SEQUENCE) -> list[Element]:
        """Give the elements inside; raises ``ValueError`` when this one is not tagged *tag*."""
        self._require(tag)
        return read_all(self.content)

    def only(self, tag: int) -> Element:
        """Give the one element inside a *tag*."""
        (inner,) = self.parts(tag)
        return inner

    def octets(self, tag: int = OCTET_STRING) -> bytes:
        """Give the bytes of an OCTET STRING, or of what is tagged *tag* in its place; BER's pieces are put together."""
        if self.tag != tag | 0x20:
            self._require(tag)
            return self.content
        pieces = read_all(self.content)
        if any(piece.tag != OCTET_STRING for piece in pieces):
            raise Broken("a string holds something else than its pieces")
        return b"".join(piece.content for piece in pieces)

    def integer(self) -> int:
        """Give an INTEGER of up to 64 bits."""
        self._require(INTEGER)
        if not 1 <= len(self.content) <= 8:
            raise Broken("a number is out of range")
        return int.from_bytes(self.content, "big", signed=True)

    def oid(self) -> str:
        """Give an object identifier in dots and digits."""
        self._require(OID)
        return _dotted(self.content)

    def _require(self, tag: int) -> None:
        if self.tag != tag:
            raise Broken(f"an element is tagged {self.tag:02x} instead of {tag:02x}")


def read(data: bytes) -> Element:
    """Read *data* as one element and nothing behind it."""
    (element,) = read_all(data)
    return element


def read_all(data: bytes) -> list[Element]:
    """Read *data* as elements in a row."""
    elements: list[Element] = []
    at = 0
    while at < len(data):
        begin, end, after = _bounds(data, at, 0)
        elements.append(Element(data[at], data[begin:end], data[at:after]))
        if len(elements) > MOST:
            raise Broken(f"more than {MOST} elements in a row")
        at = after
    return elements


def write(tag: int, *contents: bytes) -> bytes:
    """Write an element with these *contents*, one after the other."""
    content = b"".join(contents)
    size = len(content)
    if size < 0x80:
        return bytes((tag, size)) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(length))) + length + content


def write_integer(value: int) -> bytes:
    """Write a number that is not negative."""
    return write(INTEGER, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def write_oid(dotted: str) -> bytes:
    """Write an object identifier that is given in dots and digits."""
    first, second, *rest = (int(arc) for arc in dotted.split("."))
    return write(OID, *(_base128(arc) for arc in (first * 40 + second, *rest)))


def _bounds(data: bytes, at: int, depth: int) -> tuple[int, int, int]:
    """Find where the content of the element at *at* begins and ends, and where the next element begins."""
    head = data[at : at + 2]
    if len(head) < 2:
        raise Broken("cut off in the middle of an element")
    if head[0] & 0x1F == 0x1F:
        raise Broken("an element has a tag of several bytes")
    begin, size = at + 2, head[1]
    if size == 0x80:
        return _indefinite(data, at, depth)
    if size > 0x80:
        length = data[begin : begin + (size & 0x7F)]
        begin += size & 0x7F
        if begin > len(data):
            raise Broken("cut off in the middle of an element")
        size = int.from_bytes(length, "big")
        if size < 0x80 or length[0] == 0:
            raise Broken("a length is not written in the shortest way")
    if size > len(data) - begin:
        raise Broken("cut off in the middle of an element")
    return begin, begin + size, begin + size


def _indefinite(data: bytes, at: int, depth: int) -> tuple[int, int, int]:
    if not data[at] & 0x20 or depth >= _DEEPEST or len(data) > _LARGEST_INDEFINITE:
        raise Broken("an element has an indefinite length where it may not")
    inner = at + 2
    while data[inner : inner + 2] != _END:
        inner = _bounds(data, inner, depth + 1)[2]
    return at + 2, inner, inner + 2


@lru_cache(maxsize=256)
def _dotted(content: bytes) -> str:
    if not content or len(content) > 64 or content[-1] & 0x80:
        raise Broken("an object identifier is broken")
    arcs, value = [], 0
    for byte in content:
        value = value << 7 | byte & 0x7F
        if not byte & 0x80:
            arcs.append(value)
            value = 0
    first = min(arcs[0] // 40, 2)
    return ".".join(map(str, (first, arcs[0] - 40 * first, *arcs[1:])))


def _base128(arc: int) -> bytes:
    groups = [arc & 0x7F]
    while arc := arc >> 7:
        groups.append(arc & 0x7F | 0x80)
    return bytes(reversed(groups))
