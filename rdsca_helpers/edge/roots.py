"""What is known of RDS's roots on this machine: the shipped catalogue or a newer one, approvals, the profile's own."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from .. import catalogue as catalogues
from ..catalogue import Catalogue, Known
from ..certs import Certificate, issued_by
from ..errors import Damaged, Refused, UnknownRoot, UsageError
from ..model import Problem, now, stamp
from . import download
from .files import write_whole

_WHEEL, _IN_WHEEL = "awslabs-mysql-mcp-server", "rds_global_bundle.pem"  # AWS Labs' own copy on PyPI
_PATIENCE = 120.0  # seconds for pip


def catalogue(settings: Mapping[str, str] | None = None) -> Catalogue:
    """Give what is known: the shipped catalogue or a newer one from ``rdsca roots refresh``, and what was approved.

    *settings* are the AWS profile's own (``Aws.settings``): the file that its key ``rdsca_roots`` names speaks for
    the partitions in it, and nothing else is known there. Raises ``UsageError`` for a file that cannot be read.
    """
    known = _newest()
    if own := (settings or {}).get("roots"):
        known = known.instead(_read(Path(own).expanduser()))
    return catalogues.merge(known, _approved())


def require_known(
    known: Catalogue,
    region: str,
    ca: str,
    *,
    thumbprint: str | None = None,
    certificate: Certificate | None = None,
    source: str = "",
) -> Known:
    """Give the facts of the root of *ca* in *region*, with *thumbprint* those of the very root that RDS names.

    Raises ``UnknownRoot`` when nobody here knows it, or when what RDS names is the root of something else. A
    *certificate* that was found for it in *source* is described in the message.
    """
    fact = known.find(region, ca) if thumbprint is None else known.by_sha1(thumbprint)
    named = f"RDS names {thumbprint} as the thumbprint of {ca} in {region}"
    if fact is None:
        what = f"no root of {ca} in {region} is known here"
        if thumbprint is not None:
            what = f"{named}, and no such root is known here"
        raise unknown(what, [certificate] if certificate else [], source, region=region, ca=ca)
    if fact.role != "root" or fact.ca != ca or (fact.region or region) != region or not _same_partition(fact, region):
        raise UnknownRoot(
            f"{named}, which is known as {fact.subject}",
            "ask AWS; nothing is trusted until both say the same",
        )
    return fact


def unknown(what: str, strangers: Sequence[Certificate], source: str, *, region: str = "", ca: str = "") -> UnknownRoot:
    """Make the error for certificates that nobody knows: what each one is, and the line that approves it.

    One that stands in the place of a known root gets no such line: :func:`approve` refuses it.
    """
    known = catalogue()
    rivals = {c.sha256: _rival(known, c, *(catalogues.name_of(c.subject) or (region, ca))) for c in strangers[:3]}
    told = "; ".join(_described(c, rivals[c.sha256]) for c in strangers[:3])
    more = f" and {len(strangers) - 3} more" if len(strangers) > 3 else ""
    free = [c for c in strangers[:3] if c.is_root and rivals[c.sha256] is None]
    lines = " and ".join(_approval(c.sha256, c.subject, source, region, ca) for c in free)
    if not strangers:
        lines = _approval("SHA256", "", "FILE", region, ca)
    remedy = f"try rdsca roots refresh; when AWS itself confirms the fingerprint: {lines}"
    return UnknownRoot(f"{what}: {told}{more}" if told else what, remedy if lines else "take the bundle from AWS")


def _described(stranger: Certificate, rival: Known | None) -> str:
    text = f"{stranger.subject}, {_dates(stranger)}, SHA-256 {stranger.sha256}"
    return f"{text}, which is not the known one, SHA-256 {rival.sha256}" if rival else text


def _rival(known: Catalogue, certificate: Certificate, region: str, ca: str) -> Known | None:
    """Give the other certificate that is known by this name, or as the root of *ca* in *region*."""

    def stands_there(k: Known) -> bool:
        everywhere = not k.region and k.partition == catalogues.partition(region)
        return k.role == "root" and k.ca == ca and (k.region == region or everywhere)

    others = (k for k in known.roots if k.sha256 != certificate.sha256)
    return next((k for k in others if k.subject == certificate.subject or stands_there(k)), None)


def _approval(sha256: str, subject: str, source: str, region: str, ca: str) -> str:
    line = f"rdsca roots approve {sha256} --bundle {shlex.quote(source)} --by WHO"
    if catalogues.name_of(subject):
        return line
    return f"{line} --region {shlex.quote(region or 'REGION')} --ca {shlex.quote(ca or 'CA')}"


def _dates(certificate: Certificate) -> str:
    return f"valid from {certificate.not_before:%Y-%m-%d} to {certificate.not_after:%Y-%m-%d}"


def _same_partition(fact: Known, region: str) -> bool:
    return fact.partition == catalogues.partition(region)


# Approval


def approve(sha256: str, bundle: str, *, by: str, note: str = "", region: str = "", ca: str = "") -> Known:
    """Let the certificate with the fingerprint *sha256* in *bundle* (a file or a URL) count as a known root.

    Its facts are computed from the certificate. *region* and *ca* are read from its name where it has Amazon's
    form. Raises ``Refused`` unless it is a self-signed CA within its dates, and when another one is known for its
    region and CA; ``UsageError`` for a name that says something else than *region* and *ca*. A root that is known
    already is given back as it is.
    """
    wanted = catalogues.digits(sha256)
    if not re.fullmatch(r"[0-9a-f]{64}", wanted):
        raise UsageError(f"{sha256!r} is no SHA-256 fingerprint", "it has 64 hexadecimal digits")
    if not by.strip():
        raise UsageError("an approval needs a name", "say --by WHO")
    known = catalogue()
    if (fact := known.by_sha256(wanted)) and fact.current:
        return fact
    certificates = download.parse(download.load(bundle), download.shown(bundle))
    found = next((c for c in certificates if c.sha256 == wanted), None)
    if found is None:
        raise Refused(f"{download.shown(bundle)} holds no certificate with the SHA-256 {wanted}", "name the right file")
    if not found.is_root:
        raise Refused(f"{found.subject} is no root: it is not signed by itself", "approve its root")
    if not found.not_before <= now() <= found.not_after:
        raise Refused(f"{found.subject} is {_dates(found)} only", "an expired root makes nothing work")
    region, ca = _place(found.subject, region, ca)
    if other := _rival(known, found, region, ca):
        raise Refused(
            f"{found.subject}, SHA-256 {wanted}, is not the root of {ca} in {region} that is known, SHA-256 "
            f"{other.sha256} ({other.source})",
            "ask AWS which of the two is right, and run rdsca roots refresh",
        )
    approved = catalogues.fact_of(
        found, ca=ca, region=region, source=download.shown(bundle), by=by.strip(), at=stamp(now()), note=note
    )
    _write(_config() / "approved-roots.json", catalogues.merge(_approved(), Catalogue((approved,))))
    return approved


def _place(subject: str, region: str, ca: str) -> tuple[str, str]:
    named = catalogues.name_of(subject) or ("", "")
    if (named[0] and region not in ("", named[0])) or (named[1] and ca not in ("", named[1])):
        raise UsageError(
            f"{subject} is the root of {named[1]} in {named[0]} by its name", "leave out --region and --ca"
        )
    place = (region or named[0], ca or named[1])
    if not all(place):
        raise UsageError(f"{subject} does not say what it is the root of", "add --region and --ca")
    return place


# Refresh


@dataclass(frozen=True)
class Refreshed:
    """What a refresh did: the file, the *sources* it read, what was *added*, and what was *removed* (is retired now).

    A partition that was asked for and not read is in *unread* with the reason; its facts are as they were.
    """

    path: Path
    sources: tuple[str, ...]
    added: tuple[Known, ...]
    removed: tuple[Known, ...]
    unread: tuple[Problem, ...]


@dataclass(frozen=True)
class _Reading:
    """A bundle as read from *source*; *partition* is the one that AWS itself publishes it for, else empty."""

    source: str
    certificates: tuple[Certificate, ...]
    partition: str = ""


def refresh(sources: Sequence[str] = (), *, into: Path | None = None) -> Refreshed:
    """Build the catalogue anew from "aws", "wheel", files or URLs; without *sources* from AWS, else from the wheel.

    A root that left AWS's own bundle is retired. A wheel or a file may be older, or a part: it adds, and retires only
    what has expired. Nothing is ever lost. Raises ``Refused``, and writes nothing, when a certificate is not
    self-signed (GovCloud's intermediates aside), not Amazon RDS's, or another one under a known name, and when no
    source could be read.
    """
    path = into or _config() / "catalogue.json"
    old = _read(path) if into and path.exists() else _newest()
    readings, unread = _readings(sources)
    if not readings:
        raise Refused(
            f"no bundle could be read: {'; '.join(f'{p.where}: {p.what}' for p in unread)}",
            "download one elsewhere, then: rdsca roots refresh --from FILE",
        )
    facts = {k.sha256: k for k in old.roots}
    for reading in readings:
        found = {fact.sha256: fact for fact in _facts(reading, old)}
        facts |= {k.sha256: replace(k, current=False) for k in _leaving(reading, found, old)} | found
    made = Catalogue(tuple(facts.values()), f"{now():%Y-%m-%d}")
    _write(path, made)
    return Refreshed(path, tuple(r.source for r in readings), _turned(made, old), _turned(old, made), tuple(unread))


def _leaving(reading: _Reading, found: Mapping[str, Known], old: Catalogue) -> Iterator[Known]:
    spoken_for = {reading.partition} if reading.partition else {k.partition for k in found.values()}
    for k in old.roots:
        gone = k.current and k.sha256 not in found and k.partition in spoken_for
        if gone and (reading.partition or k.not_after < now()):
            yield k


def _facts(reading: _Reading, old: Catalogue) -> Iterator[Known]:
    """Compute the facts of a bundle's certificates; raises ``Refused`` for what has no place in one of RDS's."""
    names = {k.subject: k for k in old.roots}
    for c in reading.certificates:
        here = f"{c.subject} in {reading.source}, SHA-256 {c.sha256},"
        if known := old.by_sha256(c.sha256):
            fact = replace(known, current=c.not_after >= now())
        elif (place := catalogues.name_of(c.subject)) is None:
            raise Refused(f"{here} is not Amazon RDS's by its name", "take the bundle from AWS")
        elif other := names.get(c.subject):
            raise Refused(
                f"{here} is not the one that is known by this name, SHA-256 {other.sha256}",
                "ask AWS which of the two is right",
            )
        else:
            fact = catalogues.fact_of(
                c,
                region=place[0],
                ca=place[1],
                role="root" if c.is_root else "intermediate",
                source=f"{reading.source} of {now():%Y-%m-%d}",
                current=c.not_after >= now(),
            )
            signed = any(issued_by(c, root) for root in reading.certificates if root.is_root)
            if fact.role != "root" and (fact.partition != "aws-us-gov" or not signed):
                raise Refused(f"{here} is not self-signed", "a catalogue of roots takes none but GovCloud's")
        if reading.partition and fact.partition not in (reading.partition, "public"):
            raise Refused(f"{here} is of {fact.partition}, not of {reading.partition}", "take the bundle from AWS")
        names[c.subject] = fact
        yield fact


def _turned(one: Catalogue, other: Catalogue) -> tuple[Known, ...]:
    """Give what is current in *one* and not in *other*."""
    there = {k.sha256 for k in other.roots if k.current}
    found = (k for k in one.roots if k.current and k.sha256 not in there)
    return tuple(sorted(found, key=lambda k: (k.partition, k.region, k.ca)))


def _readings(sources: Sequence[str]) -> tuple[list[_Reading], list[Problem]]:
    readings: list[_Reading] = []
    unread: list[Problem] = []
    for source in sources or ("aws",):
        if source == "aws":
            found, problems = _from_aws()
            readings += found
            unread += problems
        else:
            readings.append(_from_wheel() if source == "wheel" else _from_file(source))
    if not sources and "aws" not in {r.partition for r in readings}:
        try:
            readings.append(_from_wheel())
        except Refused as e:
            unread.append(Problem(_WHEEL, e.what, e.remedy))
    return readings, unread


def _from_aws() -> tuple[list[_Reading], list[Problem]]:
    readings, unread = [], []
    for partition, base in download.TRUST_STORES.items():
        url = f"{base}/{download.GLOBAL_BUNDLE}"
        try:
            readings.append(_Reading(url, download.parse(download.load(url), url), partition))
        except Refused as e:
            unread.append(Problem(partition, e.what, e.remedy))
    return readings, unread


def _from_file(where: str) -> _Reading:
    source = download.shown(where)
    return _Reading(source, download.parse(download.load(where), source))


def _from_wheel() -> _Reading:
    """Read the bundle out of the newest wheel that AWS Labs have on PyPI; nothing of the wheel is run or installed."""
    with tempfile.TemporaryDirectory(prefix="rdsca-") as folder:
        command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "download", "--quiet"]
        command += ["--no-deps", "--only-binary", ":all:", "--dest", folder, _WHEEL]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_PATIENCE)
        except subprocess.TimeoutExpired:
            raise Refused(f"pip did not get {_WHEEL} within {_PATIENCE:.0f} s") from None
        wheel = next(Path(folder).glob("*.whl"), None)
        if done.returncode or wheel is None:
            said = done.stderr.strip().splitlines()
            raise Refused(f"pip could not get {_WHEEL} ({said[-1] if said else f'it ended with {done.returncode}'})")
        return _Reading(wheel.name, _in_wheel(wheel))


def _in_wheel(wheel: Path) -> tuple[Certificate, ...]:
    try:
        with zipfile.ZipFile(wheel) as archive:
            entry = next((n for n in archive.namelist() if n.rpartition("/")[2] == _IN_WHEEL), None)
            if entry is None:
                raise Refused(f"{wheel.name} holds no {_IN_WHEEL}")
            with archive.open(entry) as file:
                data = file.read(download.LARGEST + 1)
    except (zipfile.BadZipFile, OSError) as e:
        raise Refused(f"{wheel.name} cannot be unpacked ({e})") from None
    return download.parse(data, f"{wheel.name}/{_IN_WHEEL}")


# Files


def _config() -> Path:
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "rdsca"


def _newest() -> Catalogue:
    """Give the shipped catalogue, or the one that was refreshed when it is of a later day."""
    path, shipped = _config() / "catalogue.json", catalogues.shipped()
    refreshed = _read(path) if path.exists() else shipped
    return refreshed if refreshed.as_of > shipped.as_of else shipped


def _approved() -> Catalogue:
    path = _config() / "approved-roots.json"
    return _read(path) if path.exists() else Catalogue(())


def _read(path: Path) -> Catalogue:
    try:
        return catalogues.read(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeError) as e:
        raise UsageError(f"{path} cannot be read ({getattr(e, 'strerror', '') or 'it is no text'})") from None


def _write(path: Path, known: Catalogue) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise Damaged(f"{path.parent} cannot be made ({e.strerror})", "make it, or set XDG_CONFIG_HOME") from None
    write_whole(path, catalogues.write(known).encode())
