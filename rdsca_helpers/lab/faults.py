"""Faults that can be switched on in the lab: refusals, delays, lost replies, stale answers."""

from __future__ import annotations

import random
import threading
from dataclasses import asdict, dataclass, field, fields
from fnmatch import fnmatchcase
from typing import Any

from .world import AwsError

KINDS = ("error", "delay", "lost_reply", "lost_request", "lag")
_TEXTS = {
    "Throttling": "Rate exceeded",
    "ExpiredToken": "The security token included in the request is expired",
    "RequestExpired": "Request has expired.",
    "SignatureDoesNotMatch": "Signature expired: the clock of this machine is wrong.",
    "KMSKeyNotAccessibleFault": "The specified KMS key is not accessible.",
    "InvalidDBInstanceState": "Database instance is not in available state.",
    "InternalFailure": "An internal error has occurred.",
}
_STATUSES = {
    "AccessDenied": 403,
    "ExpiredToken": 403,
    "SignatureDoesNotMatch": 403,
    "CertificateNotFound": 404,
    "InternalFailure": 500,
    "ServiceUnavailable": 503,
}


@dataclass
class Fault:
    """A rule: which calls it meets (patterns as in a shell) and what becomes of them."""

    kind: str = ""  # error, delay, lost_reply (done, not answered), lost_request (not done), lag
    action: str = "*"
    account: str = "*"
    region: str = "*"
    instance: str = "*"
    skip: int = 0  # this many matching calls pass first
    times: int | None = None  # then this many are hit; None = until removed
    probability: float = 1.0
    delay: float = 0.0
    code: str = ""
    status: int = 0
    message: str = ""
    polls: int = 3  # lag: so many describes show the state before the change
    id: int = 0
    hits: int = field(default=0)

    def error(self) -> AwsError:
        """Make the answer of an "error" fault."""
        text = self.message or _TEXTS.get(self.code, f"{self.code} (a practice fault)")
        return AwsError(self.code, text, self.status or _STATUSES.get(self.code, 400))


class Faults:
    """The rules in force."""

    def __init__(self) -> None:
        self.rules: list[Fault] = []
        self._count = 0
        self._lock = threading.Lock()

    def add(self, wish: dict[str, Any]) -> Fault:
        """Put a rule in force; a word that a rule does not have is refused."""
        known = {f.name for f in fields(Fault)} - {"id", "hits"}
        if unknown := wish.keys() - known:
            raise ValueError(f"a fault has no {', '.join(sorted(unknown))}; it has {', '.join(sorted(known))}")
        rule = Fault(**wish)
        rule.kind = rule.kind or ("error" if rule.code else "delay")
        if rule.kind not in KINDS:
            raise ValueError(f"a fault's kind is one of {', '.join(KINDS)}, not {rule.kind}")
        if rule.kind == "error" and not rule.code:
            raise ValueError("an error fault needs a code, such as Throttling")
        with self._lock:
            self._count += 1
            rule.id = self._count
            self.rules.append(rule)
        return rule

    def remove(self, number: int | None = None) -> None:
        """Take one rule back, or all."""
        with self._lock:
            self.rules = [r for r in self.rules if number not in (None, r.id)]

    def hit(self, action: str, account: str, region: str, instance: str) -> list[Fault]:
        """Find the rules that this call runs into, and count them."""
        found = []
        seen = {"action": action, "account": account, "region": region, "instance": instance}
        with self._lock:
            for rule in self.rules:
                if not all(fnmatchcase(v, getattr(rule, k)) for k, v in seen.items()):
                    continue
                if rule.times == 0 or random.random() >= rule.probability:  # noqa: S311 - not a secret
                    continue
                if rule.skip:
                    rule.skip -= 1
                    continue
                if rule.times is not None:
                    rule.times -= 1
                rule.hits += 1
                found.append(rule)
        return found

    def rows(self) -> list[dict[str, Any]]:
        """Give the rules as JSON."""
        return [asdict(r) for r in self.rules]
