"""The command ``rdsca trust``: trust stores without a notebook."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime

from . import drivers
from .edge import roots
from .edge.stores import writing
from .edge.stores.opening import open_store, password_from
from .errors import RdscaError, Refused, Stopped, UnknownRoot, UsageError
from .model import StoreVerdict, now
from .plan import accepts
from .runbook import trust as stores
from .tables import plain

Say = Callable[[str], None]
Do = Callable[[argparse.Namespace, Say], int]
_LINE = 10_000  # characters of a line that are shown


def plainly(do: Callable[[argparse.Namespace, Say], int], options: argparse.Namespace, say: Say) -> int:
    """Do a command whose lines, errors too, repeat names from files: none of them may steer the terminal."""
    try:
        return do(options, lambda line: say(plain(line, most=_LINE)))
    except RdscaError as e:
        raise type(e)(plain(e.what, most=_LINE), plain(e.remedy, most=_LINE)) from None


def subcommands(parser: argparse.ArgumentParser, say: Say) -> Callable[[str, Do, str], argparse.ArgumentParser]:
    """Give the function that adds a subcommand to *parser*, by its name, what it does, and its help."""
    parsers = parser.add_subparsers(metavar="what", required=True)

    def what(name: str, do: Do, text: str) -> argparse.ArgumentParser:
        made = parsers.add_parser(name, help=text, description=text, epilog=parser.epilog, allow_abbrev=False)
        made.set_defaults(do=lambda options: plainly(do, options, say))
        return made

    return what


def add_parser(command: Callable[..., argparse.ArgumentParser], say: Say) -> None:
    """Add ``rdsca trust`` with its own commands; *command* makes a subcommand, *say* prints a line."""
    parser = command("trust", None, "trust stores: audit, add, build, restore, retire, advice")
    what = subcommands(parser, say)

    audit = what("audit", _audit, "say which clients of a store accept the target CA, region by region")
    audit.add_argument("stores", nargs="+", metavar="STORE", help="PEM, directory, JKS, PKCS#12, p7b or manifest")
    _aims(audit, regions="all")
    audit.add_argument("--family", action="append", default=[], help="client family, such as openssl or java:no-ec")
    audit.add_argument("--clients", default="", metavar="FILE", help="clients file: who reads which store")
    audit.add_argument(
        "--chain", action="append", default=[], metavar="FILE", help="a chain that a server served, as PEM"
    )
    audit.add_argument("--host", default="", help="host name that the chain was served for (else its own first name)")
    audit.add_argument("--at", default="", metavar="DATE", help="judge as on this day (2027-03-01) instead of today")
    audit.add_argument("--gate", action="store_true", help="end with 3 unless every client accepts the target CA")
    _password(audit)

    add = what("add", _add, "add the roots that a store lacks; shows, and writes with --action apply")
    add.add_argument("stores", nargs="+", metavar="STORE")
    _aims(add, regions="")
    _source(add)
    _change(add)
    _managed(add)

    build = what("build", _build, "make a new store with the target's roots of the wanted regions")
    build.add_argument("store", metavar="OUT", help="file (or directory) to make; it must not exist")
    build.add_argument("--format", required=True, choices=stores.BUILDERS)
    _aims(build, regions="")
    _source(build)
    build.add_argument("--max-bytes", type=int, default=0, help="take fewer CAs of a region until it fits")
    build.add_argument("--name", default="rds-ca", help="of a manifest (%(default)s)")
    build.add_argument("--namespace", default="", help="of a manifest")
    build.add_argument("--key", default="ca.crt", help="of the value in a manifest (%(default)s)")
    _password(build)

    restore = what("restore", _restore, "put a backup back; shows, and writes with --action apply")
    restore.add_argument("stores", nargs="+", metavar="STORE")
    restore.add_argument("--backup", default="", metavar="FILE", help="which one (the newest)")
    _change(restore)

    retire = what("retire", _retire, "take roots of RDS out that have expired; shows, and writes with --action apply")
    retire.add_argument("stores", nargs="+", metavar="STORE")
    retire.add_argument("--profile", default="", help="AWS profile, for its own known roots")
    _change(retire)
    _managed(retire)

    advice = what("advice", _advice, "the lines that make a driver verify with a store, and the traps")
    advice.add_argument("driver", nargs="?", default="", help="without one, the known drivers are listed")
    advice.add_argument("store", nargs="?", default="/etc/app/rds-ca.pem", help="path of the store (%(default)s)")
    advice.add_argument("--host", default="your-endpoint.rds.amazonaws.com")


def _aims(parser: argparse.ArgumentParser, *, regions: str) -> None:
    needed = "" if regions else " (needed)"
    parser.add_argument(
        "--regions", default=regions, required=not regions, help=f'"eu-west-1,us-west-2" or "all"{needed}'
    )
    parser.add_argument("--ca", default="rds-ca-rsa2048-g1", help='target CA, or "all" (%(default)s)')
    parser.add_argument("--profile", default="", help="AWS profile, for its own known roots and bundle mirror")


def _source(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--bundle", default="aws", help='"aws", an https URL, or a file (%(default)s)')


def _password(parser: argparse.ArgumentParser) -> None:
    text = "of keystores: auto (changeit, or none), env:NAME, file:PATH or prompt; never the password (%(default)s)"
    parser.add_argument("--password", default="auto", metavar="SOURCE", help=text)


def _change(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--action", choices=("show", "apply"), default="show", help="(%(default)s)")
    parser.add_argument("--in-place", action="store_true", help="write into the file itself (hard link, mounted file)")
    _password(parser)


def _managed(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--managed", action="store_true", help="also a store that a package upgrade overwrites")


def _audit(options: argparse.Namespace, say: Say) -> int:
    settings = stores.settings_of(options.profile)
    known = roots.catalogue(settings)
    aims = [
        a
        for ca in stores.cas_of(options.ca)
        for a in stores.aims_of(known, stores.regions_of(options.regions, known), ca)
    ]
    at = _day(options.at)
    chains = [stores.read_chain(file, options.host) for file in options.chain]
    clients = stores.read_clients(options.clients)
    password = password_from(options.password)
    rows: list[StoreVerdict] = []
    unread = 0
    missing: list[UsageError] = []
    for path in options.stores:
        try:
            checked = stores.check_store(
                path, aims, clients=clients, families=options.family, chains=chains, password=password, at=at
            )
        except UsageError as e:
            say(f"not audited: {e}")
            missing.append(e)
            continue
        for line in _told(path, checked.rows):
            say(line)
        rows += checked.rows
        unread += len(checked.problems)
    for client in clients:
        if not any(stores.reads(client, path) for path in options.stores):
            say(f"not asked: {client.name} reads {client.store or 'a store that is not named'}, which was not audited")
    for chain in chains:
        if not stores.fits(chain, aims):
            say(f"not tried: the chain {chain.instance} is of none of the CAs that were asked for")
    if missing:
        raise missing[0]
    if unknown := sorted({f"{r.ca} in {r.region}" for r in rows if r.verdict == "unknown-ca"}):
        raise UnknownRoot(f"no root is known for {', '.join(unknown)}", "rdsca roots refresh, or rdsca roots approve")
    if unread:
        raise Stopped(f"{unread} store(s) could not be read", "each says above why, and what to do")
    refusing = [r for r in rows if not accepts(r)]
    if options.gate and refusing:
        bad = ", ".join(sorted({f"{r.store} ({r.verdict})" for r in refusing}))
        lacking = all(r.missing_sha256 for r in refusing)
        remedy = "add the roots first: rdsca trust add" if lacking else "the lines above say why"
        raise Refused(f"not every client accepts {options.ca}: {bad}", remedy)
    return 0


def _told(path: str, rows: Sequence[StoreVerdict]) -> Iterator[str]:
    """Say the verdicts on one store; readers and regions that are alike share a line."""
    yield f"{path} ({rows[0].format if rows else 'no region asked for'})"
    by_reader: dict[tuple[str, str, str], list[StoreVerdict]] = {}
    for row in rows:
        by_reader.setdefault((row.client or row.family, row.ca, row.verdict), []).append(row)
    alike: dict[tuple[str, str, tuple[tuple[str, str], ...]], list[str]] = {}
    for (reader, ca, verdict), mine in by_reader.items():
        told = tuple((r.region, f"{r.reason} [{r.replay}]" if "served" in r.replay else r.reason) for r in mine)
        alike.setdefault((ca, verdict, told), []).append(reader)
    for (ca, verdict, told), readers in alike.items():
        regions = [region for region, _ in told]
        more = f" and {len(regions) - 3} more" if len(regions) > 4 else ""
        where = ", ".join(regions[:3] if more else regions) + more
        yield f"  {verdict:20} {', '.join(readers)}: {ca} in {where}: {told[0][1]}"


def _add(options: argparse.Namespace, say: Say) -> int:
    settings = stores.settings_of(options.profile)
    known = roots.catalogue(settings)
    regions = stores.regions_of(options.regions, known)
    wanted = stores.roots_for(
        known, regions, stores.cas_of(options.ca), where=options.bundle, mirror=settings.get("truststore_url", "")
    )
    password = password_from(options.password)

    def add(path: str, *, dry: bool) -> writing.Change:
        store = open_store(path, password)
        return writing.add(store, wanted, password, in_place=options.in_place, managed=options.managed, dry=dry)

    _refuse_early(add, options)
    for path in options.stores:
        store = open_store(path, password)
        there = {c.sha256 for c in store.contents.certificates}
        missing = [r for r in wanted if r.certificate.sha256 not in there]
        for root in missing:
            say(f"{path}: + {root.certificate.subject}, SHA-256 {root.certificate.sha256}")
        if not missing:
            say(f"{path}: holds all {len(wanted)} root(s) already; nothing to add")
        elif options.action == "show":
            say(f"{path}: {_foretold(add, path, f'{len(missing)} root(s) would be added')}")
        else:
            change = add(path, dry=False)
            say(f"{path}: {len(change.added)} root(s) added; backup {change.backup or 'not needed'}")
            say(f"{path}: {_restart(change.note)}")
    return 0


def _refuse_early(change: Callable[..., object], options: argparse.Namespace) -> None:
    """Try every store before the first is changed: a mistake in the last is one before any change."""
    for path in options.stores if options.action == "apply" else ():
        change(path, dry=True)


def _foretold(change: Callable[..., object], path: str, what: str) -> str:
    """Say what a change would do, or why it would be refused."""
    try:
        change(path, dry=True)
    except RdscaError as e:
        return f"would be refused: {e}"
    return f"{what}; nothing was changed"


def _restart(note: str) -> str:
    return f"{note}; processes that use it must load it anew" if note else "processes that use it must load it anew"


def _build(options: argparse.Namespace, say: Say) -> int:
    settings = stores.settings_of(options.profile)
    known = roots.catalogue(settings)
    wanted = stores.roots_for(
        known,
        stores.regions_of(options.regions, known),
        stores.cas_of(options.ca),
        where=options.bundle,
        mirror=settings.get("truststore_url", ""),
    )
    if options.max_bytes < 0:
        raise UsageError(f"--max-bytes takes a number from 1, not {options.max_bytes}")
    if options.format == "directory":
        made = stores.build_directory(options.store, wanted, most=options.max_bytes)
    else:
        make = stores.builder(
            options.format,
            password=password_from(options.password),
            name=options.name,
            namespace=options.namespace,
            key=options.key,
        )
        made = stores.build(options.store, wanted, make, most=options.max_bytes)
    say(f"{made.path}: {made.note}, {len(made.held)} root(s), {made.size} bytes")
    for root in made.left_out:
        say(f"{made.path}: left out for its size: {root.certificate.subject}")
    return 0


def _restore(options: argparse.Namespace, say: Say) -> int:
    password = password_from(options.password)
    if options.backup and len(options.stores) > 1:
        raise UsageError("one backup belongs to one store", "restore the stores one by one")

    def restore(path: str, *, dry: bool) -> writing.Restoration:
        return writing.restore(path, options.backup, password, apply=not dry, in_place=options.in_place)

    for path in options.stores:
        restore(path, dry=True)
    for path in options.stores:
        done = restore(path, dry=options.action == "show")
        difference = f"{len(done.added)} certificate(s) more, {len(done.removed)} less"
        say(f"{path}: backup {done.backup}, SHA-256 {done.sha256}: {difference}")
        if done.applied:
            say(f"{path}: this backup stands there now; what stood there is {done.saved or 'nowhere, it was missing'}")
            say(f"{path}: {_restart(done.note)}")
        else:
            say(f"{path}: {done.note and f'{done.note}; '}nothing was changed")
    return 0


def _retire(options: argparse.Namespace, say: Say) -> int:
    known = roots.catalogue(stores.settings_of(options.profile))
    password = password_from(options.password)

    def retire(path: str, *, dry: bool) -> writing.Change:
        store = open_store(path, password)
        going = [c.sha256 for c in stores.retired(store, known, at=now())[0]]
        return writing.remove(store, going, password, in_place=options.in_place, managed=options.managed, dry=dry)

    _refuse_early(retire, options)
    for path in options.stores:
        going, staying = stores.retired(open_store(path, password), known, at=now())
        for certificate, why in staying:
            say(f"{path}:   stays {certificate.subject}: {why}")
        for certificate in going:
            ended = f"ended on {certificate.not_after:%Y-%m-%d}"
            say(f"{path}: - {certificate.subject}, {ended}, SHA-256 {certificate.sha256}")
        if not going:
            say(f"{path}: holds no expired root of RDS; nothing to take out")
        elif options.action == "show":
            say(f"{path}: {_foretold(retire, path, f'{len(going)} certificate(s) would be taken out')}")
        else:
            change = retire(path, dry=False)
            say(f"{path}: {len(change.removed)} certificate(s) taken out; backup {change.backup or change.note}")
    return 0


def _advice(options: argparse.Namespace, say: Say) -> int:
    if not options.driver:
        for driver in drivers.DRIVERS.values():
            say(f"{driver.name:24} {driver.family:16} reads {', '.join(driver.formats)}")
        return 0
    found = drivers.advice(options.driver, options.store, options.host)
    say(f"{found.driver} ({found.family}) verifies chain and name with:")
    for line in found.lines:
        say(f"    {line}")
    for trap in found.traps:
        say(f"trap: {trap}")
    say(f"after a change of the store: {found.restart}")
    return 0


def _day(text: str) -> datetime | None:
    if not text:
        return None
    try:
        return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        raise UsageError(f"--at takes a day such as 2027-03-01, not {text!r}") from None
