"""The command ``rdsca roots``: the catalogue of known RDS roots, seen, made anew, and added to by a person's word."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from .catalogue import Known
from .edge import roots
from .edge.aws import Aws
from .errors import UnknownRoot
from .trust_command import subcommands

Say = Callable[[str], None]


def add_parser(command: Callable[..., argparse.ArgumentParser], say: Say) -> None:
    """Add ``rdsca roots`` with its own commands; *command* makes a subcommand, *say* prints a line."""
    parser = command("roots", None, "the catalogue of known RDS roots: list, refresh, approve")
    what = subcommands(parser, say)

    listing = what("list", _list, "list what is known")
    listing.add_argument("--region", default="", help="of one region only")
    listing.add_argument("--all", action="store_true", help="also retired ones, intermediates and public roots")
    listing.add_argument("--profile", default="", help="AWS profile, for its own known roots")

    refreshing = what("refresh", _refresh, "build the catalogue anew from AWS's bundles, and say what has changed")
    refreshing.add_argument(
        "--from",
        dest="sources",
        nargs="+",
        default=[],
        metavar="SOURCE",
        help='"aws", "wheel" (the copy of AWS Labs on PyPI), or bundle files and https URLs (aws, else wheel)',
    )
    refreshing.add_argument("--into", type=Path, metavar="FILE", help="catalogue to write (your own)")

    approving = what("approve", _approve, "let a root count that the catalogue lacks, by your word")
    approving.add_argument("sha256", metavar="SHA256", help="fingerprint of the certificate, confirmed by AWS")
    approving.add_argument("--bundle", required=True, metavar="FILE", help="file or https URL that holds it")
    approving.add_argument("--by", required=True, metavar="WHO", help="who approves")
    approving.add_argument("--note", default="", help="change ticket, reason")
    approving.add_argument("--region", default="", help="region it is the root of, where its name does not say")
    approving.add_argument("--ca", default="", help="CA id it is the root of, where its name does not say")


def _list(options: argparse.Namespace, say: Say) -> int:
    known = roots.catalogue(Aws(profile=options.profile, account="").settings if options.profile else {})
    found = [k for k in known.roots if options.all or (k.current and k.role == "root")]
    if options.region:
        found = [k for k in found if k.region == options.region]
        if not found:
            raise UnknownRoot(f"no root of {options.region} is known here", "try rdsca roots refresh")
    for k in found:
        state = "" if k.current else ", retired"
        kind = "" if k.role == "root" else f", {k.role}"
        say(
            f"{k.sha256}  {k.region or k.partition:16} {k.ca or '-':18} {k.key:13} {k.not_after:%Y-%m-%d}  "
            f"{k.subject}{kind}{state} ({k.source}{_approval(k)})"
        )
    say(f"{len(found)} certificate(s), as of {known.as_of}")
    return 0


def _approval(known: Known) -> str:
    note = f": {known.note}" if known.note else ""
    return f"; approved by {known.by}, {known.at}{note}" if known.approved else ""


def _refresh(options: argparse.Namespace, say: Say) -> int:
    done = roots.refresh(options.sources, into=options.into)
    for sign, changed in (("+", done.added), ("-", done.removed)):
        for k in changed:
            say(f"{sign} {k.region or k.partition:16} {k.subject}, {k.dates}, SHA-256 {k.sha256}")
    for problem in done.unread:
        say(f"not read: {problem.where}: {problem.what}")
    for source in done.sources:
        say(f"read: {source}")
    say(f"{done.path}: {len(done.added)} root(s) added, {len(done.removed)} retired")
    return 4 if done.unread else 0


def _approve(options: argparse.Namespace, say: Say) -> int:
    known = roots.approve(
        options.sha256, options.bundle, by=options.by, note=options.note, region=options.region, ca=options.ca
    )
    said = f"approved by {known.by}, {known.at}" if known.approved else f"known already ({known.source})"
    say(f"{known.subject}, {known.dates}, SHA-256 {known.sha256}: the root of {known.ca} in {known.region}, {said}")
    return 0
