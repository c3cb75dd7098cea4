"""A run: the checked parameters of one notebook, its folder, and the way to its account."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from ..model import Problem
from .aws import Aws
from .folder import RunFolder


@dataclass(frozen=True, kw_only=True)
class Run:
    """What a notebook has opened. Parameters that the notebook does not have keep their defaults."""

    notebook: str
    folder: RunFolder
    started: datetime
    account: str = ""
    regions: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()
    target_ca: str = ""
    action: str = "show"
    when: str = "window"
    wave: str = "next"
    max_targets: int = 0
    credentials: str = "none"
    db_user: str = ""
    reach: str = ""
    samples: int = 1
    sample_seconds: int = 30
    instances: tuple[str, ...] = ()
    stores: tuple[str, ...] = ()
    clients: str = ""
    store_password: str = "auto"  # noqa: S105  the name of a source, never a password
    bundle: str = "aws"
    connection: Aws | None = None

    @property
    def aws(self) -> Aws:
        """The account's AWS; only notebooks that speak with AWS have it."""
        if self.connection is None:
            raise LookupError(f"{self.notebook} does not speak with AWS")
        return self.connection
