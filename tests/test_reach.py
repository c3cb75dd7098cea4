"""The way to an endpoint: straight, or through the address that a reach file names."""

from __future__ import annotations

from pathlib import Path

import pytest

from rdsca_helpers.edge import reach
from rdsca_helpers.errors import Unreachable, UsageError

HOST = "orders.abcdefghijkl.eu-west-1.rds.amazonaws.com"


def read(folder: Path, text: str | bytes) -> reach.Reach:
    file = folder / "reach.yml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return reach.read(str(file))


def test_without_a_file_every_endpoint_is_reached_straight() -> None:
    assert reach.read("").address(HOST, 5432) == (HOST, 5432)


def test_a_listed_endpoint_is_reached_through_its_way_and_the_others_straight(tmp_path: Path) -> None:
    found = read(tmp_path, f'endpoints:\n  {HOST}:5432: 127.0.0.1:15432\n  "[2001:db8::1]:3306": "[::1]:3307"\n')
    assert found.address(HOST, 5432) == ("127.0.0.1", 15432)
    assert found.address(HOST.upper(), 5432) == ("127.0.0.1", 15432)
    assert found.address(HOST, 5433) == (HOST, 5433)
    assert found.address("2001:db8::1", 3306) == ("::1", 3307)


def test_with_others_none_an_unlisted_endpoint_is_out_of_reach_and_never_tried(tmp_path: Path) -> None:
    found = read(tmp_path, f"endpoints: {{'{HOST}:5432': '127.0.0.1:1'}}\nothers: none\n")
    assert found.address(HOST, 5432) == ("127.0.0.1", 1)
    with pytest.raises(Unreachable, match=r"no way to billing\.example:5432.*reach\.yml"):
        found.address("billing.example", 5432)


def test_an_empty_list_with_others_none_reaches_nothing(tmp_path: Path) -> None:
    with pytest.raises(Unreachable):
        read(tmp_path, "endpoints: {}\nothers: none\n").address(HOST, 5432)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "just words",
        "endpoints:",
        "endpoints: [a]",
        "endpoint: {}",
        "endpoints: {'a:1': 'b'}",
        "endpoints: {'a:1': 5432}",
        "endpoints: {'a': 'b:1'}",
        "endpoints: {'a:1': ':1'}",
        "endpoints: {'a:1': 'b:x'}",
        "endpoints: {'a:1': 'b:70000'}",
        "endpoints: {'a:0': 'b:1'}",
        "endpoints: {'a:1': 'b:-1'}",
        "endpoints: {}\nothers: no way",
        "endpoints: {}\nothers: None",
        "endpoints: {}\nothers: false",
        "endpoints: {",
        "endpoints: !!python/object/apply:os.system ['true']",
        b"\xff\xfe",
    ],
)
def test_a_malformed_reach_file_is_named_with_an_example_and_never_half_taken(
    tmp_path: Path, text: str | bytes
) -> None:
    with pytest.raises(UsageError, match=r"reach\.yml is malformed.*it holds endpoints"):
        read(tmp_path, text)


def test_a_reach_file_that_is_not_there_is_a_wrong_parameter(tmp_path: Path) -> None:
    for path in (tmp_path / "nothing", tmp_path):
        with pytest.raises(UsageError, match="cannot be read"):
            reach.read(str(path))
