"""Log files as RDS hands them out: listed and read in portions by real boto3, within bounds."""

from __future__ import annotations

import os
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from conftest import AwsSide
from test_lab_api import ask, code

from rdsca_helpers.edge.aws import Aws
from rdsca_helpers.errors import AccessDenied, Stopped
from rdsca_helpers.lab.seed import SHOP, WEST
from rdsca_helpers.lab.world import Instance, NoWire
from rdsca_helpers.model import now

NAME = "error/postgresql.log.2026-11-24-10"
FIND = {"DBInstanceIdentifier": "orders-db"}


class Logs(NoWire):
    """Endpoints with nothing behind them but log files."""

    def __init__(self) -> None:
        self.files: dict[str, Path] = {}

    def logs(self, instance: Instance) -> dict[str, Path]:
        return self.files if instance.id == "orders-db" else {}


@pytest.fixture
def logs(profile: AwsSide, tmp_path: Path) -> Any:
    wire = Logs()
    profile.world.wire = wire

    def keep(text: bytes, name: str = NAME, hours: float = 0) -> None:
        file = tmp_path / name.replace("/", "_")
        file.write_bytes(text)
        os.utime(file, (time.time() - hours * 3600,) * 2)
        wire.files[name] = file

    return keep


def mine() -> Aws:
    return Aws(profile="lab", account=SHOP)


def test_log_files_are_listed_and_read_in_botocores_shape(profile: AwsSide, logs: Any) -> None:
    logs(b"one\ntwo\nthree\n")
    client = profile.client()
    (found,) = ask(client, "DescribeDBLogFiles", **FIND)["DescribeDBLogFiles"]
    assert (found["LogFileName"], found["Size"]) == (NAME, 14)
    assert ask(client, "DescribeDBLogFiles", **FIND, FilenameContains="slow")["DescribeDBLogFiles"] == []

    def portion(**wish: Any) -> tuple[str, bool]:
        answer = ask(client, "DownloadDBLogFilePortion", **FIND, LogFileName=NAME, **wish)
        return answer["LogFileData"], answer["AdditionalDataPending"]

    assert portion() == ("one\ntwo\nthree\n", False)
    assert portion(NumberOfLines=1) == ("three\n", False)
    assert portion(Marker="0", NumberOfLines=2) == ("one\ntwo\n", True)
    assert portion(Marker="0:8") == ("three\n", False)
    download = client.download_db_log_file_portion
    assert code(download, **FIND, LogFileName="error/none") == ("DBLogFileNotFoundFault", 404)
    assert code(download, **FIND, LogFileName=NAME, Marker="x")[0] == "InvalidParameterValue"


def test_a_portion_ends_in_mid_line_at_one_megabyte(profile: AwsSide, logs: Any) -> None:
    logs(b"x" * (1024 * 1024 + 5) + b"\n")
    answer = ask(profile.client(), "DownloadDBLogFilePortion", **FIND, LogFileName=NAME, Marker="0")
    assert (len(answer["LogFileData"]), answer["AdditionalDataPending"]) == (1024 * 1024, True)


def test_files_since_a_time_come_from_all_pages_oldest_first(profile: AwsSide, logs: Any) -> None:
    for n in range(120):
        logs(b"x\n", f"error/postgresql.log.{n:03}", hours=n)
    logs(b"x\n", "slowquery/other.log")
    found = mine().log_files(WEST, "orders-db", now() - timedelta(hours=110.5), "postgresql.log")
    assert found == [f"error/postgresql.log.{n:03}" for n in range(110, -1, -1)]


def test_a_log_longer_than_a_portion_comes_whole_and_in_order(logs: Any) -> None:
    lines = b"".join(b"%07d %s\n" % (n, b"." * (n % 200)) for n in range(30_000))
    logs(lines)
    assert mine().log_text(WEST, "orders-db", NAME, 10**9) == (lines.decode(), True)


def test_of_a_log_that_is_too_long_the_end_is_read_and_that_is_said(logs: Any) -> None:
    logs(b"".join(b"%07d %s\n" % (n, b"." * 300) for n in range(20_000)))
    text, whole = mine().log_text(WEST, "orders-db", NAME, 1_000_000)
    assert not whole
    assert text.endswith(f"0019999 {'.' * 300}\n")
    assert len(text) <= 1024 * 1024


def test_odd_bytes_in_a_log_do_no_harm(logs: Any) -> None:
    logs(b"\x00\x1b[31m <&> \xff\xfe]]> \r\n")
    text, whole = mine().log_text(WEST, "orders-db", NAME, 10**6)
    assert whole
    assert "[31m <&> " in text


def test_a_log_that_may_not_be_read_is_a_refusal_with_the_permission(profile: AwsSide, logs: Any) -> None:
    logs(b"x\n")
    for action in ("DescribeDBLogFiles", "DownloadDBLogFilePortion"):
        profile.post("fault", kind="error", action=action, code="AccessDenied")
    with pytest.raises(AccessDenied, match="rds:DescribeDBLogFiles was refused"):
        mine().log_files(WEST, "orders-db", now(), "postgresql")
    with pytest.raises(AccessDenied, match="rds:DownloadDBLogFilePortion was refused"):
        mine().log_text(WEST, "orders-db", NAME, 10**6)


def test_a_log_that_is_gone_is_no_empty_log(profile: AwsSide, logs: Any) -> None:
    with pytest.raises(Stopped, match="DBLogFileNotFoundFault"):
        mine().log_text(WEST, "orders-db", NAME, 10**6)
