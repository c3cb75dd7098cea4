"""The catalogue of RDS's roots: facts, not certificates, of every one that is known, and lookups among them.

What it does not know is not there: no answer here is a guess.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from .certs import Certificate, issued_by
from .errors import UsageError
from .model import stamp

UNKNOWN = "unknown"
# As botocore tells them apart (partitions.json). Other partitions publish no bundle that is known here.
_PARTITIONS = {
    "aws": re.compile(r"(us|eu|ap|sa|ca|me|af|il|mx)-[a-z]+-\d+"),
    "aws-us-gov": re.compile(r"us-gov-[a-z]+-\d+"),
    "aws-cn": re.compile(r"cn-[a-z]+-\d+"),
}
_NAME = re.compile(
    r"Amazon RDS (?:(?P<stage>Beta|Preview) )?(?P<region>[a-z]{2,4}(?:-[a-z]+)+-\d+) "
    r"(?:Root CA )?(?P<key>[A-Z]+\d+) (?P<generation>G\d+)"
)


def partition(region: str) -> str:
    """Give the partition of *region*: aws, aws-us-gov or aws-cn; for any other name the word ``unknown``."""
    return next((name for name, form in _PARTITIONS.items() if form.fullmatch(region)), UNKNOWN)


def name_of(subject: str) -> tuple[str, str] | None:
    """Read region and CA id from a name such as ``Amazon RDS us-east-1 Root CA RSA2048 G1``; ``None`` for others.

    Amazon's own trials stand apart as ``beta-us-east-1`` and ``preview-us-east-2``.
    """
    found = _NAME.fullmatch(subject)
    if not found:
        return None
    stage = f"{found['stage'].lower()}-" if found["stage"] else ""
    return stage + found["region"], f"rds-ca-{found['key']}-{found['generation']}".lower()


@dataclass(frozen=True)
class Known:
    """What is known of one CA certificate of RDS.

    *region* is empty where one root stands for all regions of its *partition* (2015, 2019). *role* is ``root``,
    ``intermediate``, or ``public`` for the roots of RDS Proxy and Aurora Serverless v1. *current*: in AWS's newest
    bundle, or approved by a person (*by*, *at*, *note*). *sha1* is what DescribeCertificates calls Thumbprint
    (measured: 7 of 7 published ones). *source* says where the facts come from.
    """

    ca: str
    region: str
    partition: str
    subject: str
    key: str
    not_before: datetime
    not_after: datetime
    sha256: str
    sha1: str
    current: bool = True
    source: str = ""
    role: str = "root"
    by: str = ""
    at: str = ""
    note: str = ""

    @property
    def approved(self) -> bool:
        """True when the root is known by a person's word, not by AWS's."""
        return bool(self.by)

    @property
    def dates(self) -> str:
        """Give the first and the last day in words."""
        return f"valid from {self.not_before:%Y-%m-%d} to {self.not_after:%Y-%m-%d}"


def fact_of(certificate: Certificate, *, ca: str, region: str, source: str, **more: Any) -> Known:
    """Compute the facts of *certificate*; its name is not looked at, *ca* and *region* are the caller's word."""
    return Known(
        ca=ca,
        region=region,
        partition=partition(region.removeprefix("beta-").removeprefix("preview-")),
        subject=certificate.subject,
        key=certificate.key,
        not_before=certificate.not_before,
        not_after=certificate.not_after,
        sha256=certificate.sha256,
        sha1=certificate.sha1,
        source=source,
        **more,
    )


@dataclass(frozen=True)
class Catalogue:
    """Known CA certificates, and the day (``2026-09-25``) that they are of. Of two for one place the later counts."""

    roots: tuple[Known, ...]
    as_of: str = ""

    @cached_property
    def _by_sha256(self) -> Mapping[str, Known]:
        return {k.sha256: k for k in self.roots}

    @cached_property
    def _by_sha1(self) -> Mapping[str, Known]:
        return {k.sha1: k for k in self.roots}

    @cached_property
    def _current(self) -> Mapping[tuple[str, str], Known]:
        return {(k.region, k.ca): k for k in self.roots if k.current and k.role == "root"}

    def by_sha256(self, fingerprint: str) -> Known | None:
        """Look a certificate up by its SHA-256, in either case and with or without colons."""
        return self._by_sha256.get(digits(fingerprint))

    def by_sha1(self, thumbprint: str) -> Known | None:
        """Look a certificate up by the thumbprint that DescribeCertificates gives."""
        return self._by_sha1.get(digits(thumbprint))

    def find(self, region: str, ca: str) -> Known | None:
        """Give the current root of *ca* in *region*; ``None`` when nobody here knows it."""
        return self._current.get((region, ca))

    def offered(self, region: str) -> dict[str, str]:
        """Map the CA ids of *region* to the SHA-1 thumbprints of their current roots; empty for an unknown region.

        A root in the bundle does not say that RDS offers the CA: DescribeCertificates does.
        """
        return {ca: k.sha1 for (where, ca), k in self._current.items() if where == region}

    def regions(self, of: str = "") -> tuple[str, ...]:
        """List the regions with a current root, of one partition or of all; Amazon's own trials are left out."""
        found = {k.region for k in self._current.values() if of in ("", k.partition)}
        return tuple(sorted(r for r in found if not r.startswith(("beta-", "preview-"))))

    def instead(self, other: Catalogue) -> Catalogue:
        """Give this catalogue with *other* in place of all that it has for the partitions that *other* names."""
        taken = {k.partition for k in other.roots}
        kept = tuple(k for k in self.roots if k.partition not in taken)
        return Catalogue(kept + other.roots, max(self.as_of, other.as_of))


def digits(fingerprint: str) -> str:
    """Write a fingerprint as the catalogue has it: lower case, no colons or blanks."""
    return re.sub(r"[:\s]", "", fingerprint).lower()


def merge(*catalogues: Catalogue) -> Catalogue:
    """Put catalogues together; of one certificate the last one's facts count."""
    facts = {k.sha256: k for c in catalogues for k in c.roots}
    return Catalogue(tuple(facts.values()), max((c.as_of for c in catalogues), default=""))


@cache
def shipped() -> Catalogue:
    """Give the catalogue that came with this version of rdsca."""
    file = Path(__file__).with_name("catalogue.json")
    return read(file.read_text(encoding="utf-8"), str(file))


# What a bundle holds, beside what is known


@dataclass(frozen=True)
class Difference:
    """Certificates of a bundle that nobody knows, and known roots that it lacks."""

    strangers: tuple[Certificate, ...]
    missing: tuple[Known, ...]


def compare(
    certificates: Sequence[Certificate], known: Catalogue, *, of: str, regions: Collection[str], now: datetime
) -> Difference:
    """Compare a bundle with the catalogue as sets, by fingerprint.

    *of* is the partition that it has to hold whole; when it is empty, only *regions* have to be. A root that has
    expired by *now* may be missing, and so may one that a person approved. A CA that a known root of the same
    bundle has signed is no stranger.
    """
    held = {c.sha256 for c in certificates}
    issuers = [c for c in certificates if (fact := known.by_sha256(c.sha256)) and fact.role == "root"]

    def stranger(certificate: Certificate) -> bool:
        if known.by_sha256(certificate.sha256):
            return False
        return certificate.is_root or not any(issued_by(certificate, root) for root in issuers)

    def wanted(fact: Known) -> bool:
        place = fact.partition == of if of else fact.region in regions
        return place and fact.current and not fact.approved and fact.role == "root" and fact.not_after >= now

    return Difference(
        tuple(c for c in certificates if stranger(c)),
        tuple(k for k in known.roots if wanted(k) and k.sha256 not in held),
    )


# As text: JSON with one certificate a line, so that a change reads as a change of lines


def write(catalogue: Catalogue) -> str:
    """Write *catalogue* sorted: the same text for the same facts."""
    ordered = sorted(catalogue.roots, key=lambda k: (k.partition, not k.current, k.region, k.ca, k.subject, k.sha256))
    lines = ",\n".join(json.dumps(_row(k), ensure_ascii=False) for k in ordered)
    return f'{{"kind": "roots", "schema": 1, "as_of": {json.dumps(catalogue.as_of)}, "roots": [\n{lines}\n]}}\n'


def read(text: str, source: str) -> Catalogue:
    """Read what :func:`write` wrote; raises ``UsageError`` that names *source* and the first wrong entry."""
    try:
        found = json.loads(text)
        if found["kind"] != "roots" or found["schema"] != 1:
            raise ValueError("it is of another kind or schema")
        known = tuple(_known(row, f"entry {number}") for number, row in enumerate(found["roots"], 1))
        if len({k.sha256 for k in known}) < len(known):
            raise ValueError("a certificate stands in it twice")
        return Catalogue(known, str(found["as_of"]))
    except KeyError as e:
        why = f"it lacks {e}"
    except (ValueError, TypeError, AttributeError) as e:
        why = str(e)
    raise UsageError(f"{source} is no catalogue of roots ({why})", "mend it, or move it away and make it anew")


_DEFAULTS = {f.name: f.default for f in fields(Known) if isinstance(f.default, str) and f.name != "source"}
_DATES = ("not_before", "not_after")
_FORMS = {"sha256": re.compile(r"[0-9a-f]{64}"), "sha1": re.compile(r"[0-9a-f]{40}")}


def _row(known: Known) -> dict[str, Any]:
    row = {f.name: getattr(known, f.name) for f in fields(known)}
    row |= {name: stamp(row[name]) for name in _DATES}
    return {name: value for name, value in row.items() if _DEFAULTS.get(name) != value}


def _known(row: Mapping[str, Any], where: str) -> Known:
    values = {f.name: row[f.name] if f.name not in _DEFAULTS else row.get(f.name, f.default) for f in fields(Known)}
    for name, value in values.items():
        fits = isinstance(value, bool if name == "current" else str)
        if not fits or (name in _FORMS and not _FORMS[name].fullmatch(value)):
            raise ValueError(f"{where} has {name} {value!r}")
    dates = {name: datetime.fromisoformat(values[name]) for name in _DATES}
    if any(date.tzinfo is None for date in dates.values()):
        raise ValueError(f"{where} has a date without its time zone")
    return Known(**{**values, **dates})
