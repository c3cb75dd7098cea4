"""Makers for tests with practice servers: a certificate, a server, a trust store."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from conftest import AwsSide

from rdsca_helpers.lab import folder as lab_folder
from rdsca_helpers.lab import servers, wire
from rdsca_helpers.lab.pki import Pki, Served

REGION = "eu-west-1"
NAME = "orders.abcdefghijkl.eu-west-1.rds.amazonaws.com"
OLD, NEW = "rds-ca-rsa2048-g1", "rds-ca-ecc384-g1"
PASSWORDS = {"app": "it's %s \\ app", "rdsca_ro": "read only"}


def certificate(pki: Pki, ca: str, days: float = 300) -> Served:
    """Issue a certificate of *ca* that ends in *days*."""
    now = datetime.now(UTC)
    return pki.issue(REGION, ca, [NAME], now - timedelta(days=60), now + timedelta(days=days))


def prepared(
    kind: str, templates: Path, *, performance_schema: bool = True, options: Sequence[str] = ("--skip-name-resolve",)
) -> servers.Server:
    """Make a server that is not started yet; without its program the test is skipped, and says why."""
    installation = servers.find(kind)
    if installation is None:
        pytest.skip(servers.why_missing(kind))
    return servers.make(
        installation,
        templates,
        readonly_password=PASSWORDS["rdsca_ro"],
        app_password=PASSWORDS["app"],
        performance_schema=performance_schema,
        options=options,
    )


def put_behind(
    aws: AwsSide, folder: Path, templates: Path, wishes: Sequence[wire.Wish]
) -> contextlib.AbstractContextManager[dict[str, servers.Server]]:
    """Put real servers behind endpoints of *aws*, and write the reach file in *folder*, where profile "lab" has it."""
    behind = wire.Databases(
        aws.world, aws.world.pki, templates, lambda: lab_folder.write_reach(folder, behind.endpoints())
    )

    @contextlib.contextmanager
    def running() -> Iterator[dict[str, servers.Server]]:
        aws.world.wire = behind
        try:
            for wish in wishes:
                behind.start(wish, readonly_password=PASSWORDS["rdsca_ro"], app_password=PASSWORDS["app"])
            for missing in behind.missing.values():
                pytest.skip(missing)
            yield {s.kind: s for s in behind.servers.values() if isinstance(s, servers.Server)}
        finally:
            behind.stop()

    return running()


def roots_file(folder: Path, pki: Pki, *cas: str) -> Path:
    """Write a trust store with the roots of *cas*."""
    file = folder / "roots.pem"
    file.write_text("".join(pki.root_pem(REGION, ca) for ca in cas))
    return file
