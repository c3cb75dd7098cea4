"""Makers for tests with practice servers: a certificate, a server, a trust store."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from rdsca_helpers.lab import servers
from rdsca_helpers.lab.pki import Pki, Served

REGION = "eu-west-1"
NAME = "orders.abcdefghijkl.eu-west-1.rds.amazonaws.com"
OLD, NEW = "rds-ca-rsa2048-g1", "rds-ca-ecc384-g1"
PASSWORDS = {"app": "it's %s \\ app", "rdsca_ro": "read only"}


def certificate(pki: Pki, ca: str, days: float = 300) -> Served:
    """Issue a certificate of *ca* that ends in *days*."""
    now = datetime.now(UTC)
    return pki.issue(REGION, ca, [NAME], now - timedelta(days=60), now + timedelta(days=days))


def prepared(kind: str, templates: Path, *, performance_schema: bool = True) -> servers.Server:
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
    )


def roots_file(folder: Path, pki: Pki, *cas: str) -> Path:
    """Write a trust store with the roots of *cas*."""
    file = folder / "roots.pem"
    file.write_text("".join(pki.root_pem(REGION, ca) for ca in cas))
    return file
