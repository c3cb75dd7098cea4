"""DER: written as X.690 has it, read strictly, and whatever is broken is a ValueError that costs nothing."""

from __future__ import annotations

import contextlib
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rdsca_helpers import der

BOUNDED = settings(max_examples=300, deadline=None)


@pytest.mark.parametrize(
    ("dotted", "expected"),
    [
        ("1.2.840.113549.1.7.1", "06092a864886f70d010701"),
        ("2.999.3", "0603883703"),  # the example of X.690, 8.19
        ("2.16.840.1.113894.746875.1.1", "060c6086480186f966adca7b0101"),
        ("0.0", "060100"),
        ("1.39.128", "06034f8100"),
    ],
)
def test_object_identifiers_are_written_and_read_as_the_standard_has_them(dotted: str, expected: str) -> None:
    assert der.write_oid(dotted).hex() == expected
    assert der.read(bytes.fromhex(expected)).oid() == dotted


@pytest.mark.parametrize(
    ("value", "expected"), [(0, "020100"), (127, "02017f"), (128, "02020080"), (10_000, "02022710")]
)
def test_numbers_are_written_and_read_in_the_fewest_bytes(value: int, expected: str) -> None:
    assert der.write_integer(value).hex() == expected
    assert der.read(bytes.fromhex(expected)).integer() == value


@pytest.mark.parametrize("size", [0, 127, 128, 255, 256, 65535, 65536])
def test_what_is_written_is_read_with_its_exact_bytes(size: int) -> None:
    inner = der.write(der.OCTET_STRING, bytes(size))
    first, second = der.read(der.write(der.SEQUENCE, inner, der.write_integer(3))).parts()
    assert (first.octets(), first.raw) == (bytes(size), inner)
    assert second.raw == b"\2\1\3"


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        ("", "not enough values"),
        ("30", "cut off"),
        ("3001", "cut off"),
        ("3082", "cut off"),
        ("308200", "cut off"),
        ("0401aa00", "cut off"),
        ("0401aa0400", "too many values"),
        ("04810101", "shortest"),
        ("0482008000", "shortest"),
        ("1f010000", "tag of several bytes"),
        ("0480aa0000", "indefinite"),
        ("3080020103", "cut off"),
        ("30800201030", "cut off"),
        ("30" + "88" + "ff" * 8, "cut off"),
        ("30" + "ff" + "01" * 127, "cut off"),
        ("3080" * 17 + "0000" * 17, "indefinite"),
    ],
)
def test_what_is_broken_raises_a_value_error(broken: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        der.read(bytes.fromhex(broken + "0" * (len(broken) % 2)))


@pytest.mark.parametrize(
    ("element", "ask"),
    [
        ("0200", der.Element.integer),
        ("0209" + "01" * 9, der.Element.integer),
        ("0400", der.Element.integer),
        ("0600", der.Element.oid),
        ("060186", der.Element.oid),
        ("0641" + "01" * 65, der.Element.oid),
        ("0400", der.Element.parts),
        ("0401aa", lambda e: e.only(der.SET)),
        ("3000", der.Element.octets),
        ("24020200", der.Element.octets),
    ],
)
def test_an_element_that_is_something_else_raises_a_value_error(element: str, ask: object) -> None:
    with pytest.raises(ValueError, match=r"."):
        ask(der.read(bytes.fromhex(element)))  # type: ignore[operator]


def test_indefinite_lengths_and_strings_in_pieces_are_read_as_what_they_hold() -> None:
    data = bytes.fromhex("3080 020103 3080 2480 0402aabb 0401cc 0000 0000 0000")
    version, inner = der.read(data).parts()
    assert version.integer() == 3
    assert inner.raw == data[5:-2]
    assert inner.only(der.SEQUENCE).octets() == b"\xaa\xbb\xcc"


def test_a_length_that_is_only_claimed_costs_no_memory() -> None:
    tracemalloc.start()
    for claim in ("84ffffffff", "88ffffffffffffffff", "847fffffff"):
        with pytest.raises(ValueError, match="cut off"):
            der.read(bytes.fromhex("04" + claim))
    with pytest.raises(ValueError, match="in a row"):
        der.read(der.write(der.SEQUENCE, b"\5\0" * (der.MOST + 1))).parts()
    with pytest.raises(ValueError, match="indefinite"):
        der.read(b"\x30\x80" + bytes(2 << 20))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 64 << 20


@BOUNDED
@given(st.binary(max_size=80))
def test_any_bytes_are_read_exactly_or_refused(data: bytes) -> None:
    with contextlib.suppress(ValueError):
        elements = der.read_all(data)
        assert b"".join(e.raw for e in elements) == data
        for element in elements:
            with contextlib.suppress(ValueError):
                assert b"".join(e.raw for e in element.parts(element.tag)) == element.content


TREES = st.recursive(
    st.binary(max_size=140).map(lambda content: der.write(der.OCTET_STRING, content)),
    lambda inner: st.lists(inner, max_size=3).map(lambda parts: der.write(der.SEQUENCE, *parts)),
    max_leaves=8,
)


def rewritten(element: der.Element) -> bytes:
    if element.tag == der.SEQUENCE:
        return der.write(der.SEQUENCE, *map(rewritten, element.parts()))
    return der.write(element.tag, element.octets())


@settings(max_examples=60, deadline=None)
@given(TREES)
def test_whatever_is_written_reads_back_and_is_cut_nowhere_without_notice(data: bytes) -> None:
    assert rewritten(der.read(data)) == data
    for end in range(len(data)):
        with pytest.raises(ValueError, match=r"cut off|not enough"):
            der.read(data[:end])
