"""Real CA certificates for tests: the project's own copies, and those that may not enter it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

OWN = Path(__file__).parent / "data"
SHARED = Path(os.environ.get("RDSCA_CA_DATA") or Path(__file__).parents[2] / "shared/data/rds-ca")


def ca_data(name: str) -> Path:
    """Give the file *name*; the test is skipped when it may not enter the project and is not beside the checkout."""
    for folder in (OWN, SHARED):
        if (folder / name).is_file():
            return folder / name
    pytest.skip(f"{name} may not enter the project and is not in {SHARED}; RDSCA_CA_DATA names its folder")
