"""Trust stores without a notebook or with one: audit, add, build, and what has expired."""

from __future__ import annotations

import os.path
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

from .. import catalogue, parameters, trust
from ..catalogue import Catalogue, Known
from ..certs import Certificate, read_pem
from ..clients_file import ClientEntry
from ..clients_file import read as read_entries
from ..edge import bundle as bundles
from ..edge import roots as known_roots
from ..edge.aws import Aws
from ..edge.bundle import Bundle
from ..edge.files import write_whole
from ..edge.folder import RunFolder
from ..edge.stores import directory, kubernetes, writing
from ..edge.stores.kinds import all_kinds
from ..edge.stores.opening import Store, open_store
from ..errors import RdscaError, Refused, UnknownRoot, UsageError
from ..model import Problem, Secret, StoreVerdict, now
from ..trust import Contents, Family, Root


@dataclass(frozen=True)
class Aim:
    """What a store is asked about one region: the target CA, its *root* (``None``: nobody knows it), and the offer.

    *offered* maps the CA ids of the region to the SHA-1 thumbprints of their roots.
    """

    region: str
    ca: str
    root: Certificate | Known | None
    offered: Mapping[str, str]


@dataclass(frozen=True)
class ServedChain:
    """A chain that a server has shown: who it was, by which host name, and the certificates, leaf first."""

    instance: str
    host: str
    certificates: tuple[Certificate, ...]


@dataclass(frozen=True)
class Reader:
    """Who reads a store: a family of clients, or one client of the clients file."""

    family: Family
    client: ClientEntry | None = None


def readers_of(store: Store, clients: Iterable[ClientEntry], families: Sequence[str] = ()) -> list[Reader]:
    """Say who reads *store*: the clients that name it, else the *families* asked for, else those of its kind."""
    mine = [c for c in clients if reads(c, str(store.path))]
    if mine:
        return [Reader(trust.family(c.family), c) for c in mine]
    return [Reader(trust.family(name)) for name in families or store.kind.families]


def reads(client: ClientEntry, path: str) -> bool:
    """Tell whether *client* names the store at *path*, however either of the two is written."""
    return bool(client.store) and _place(client.store) == _place(path)


def _place(path: str) -> str:
    return os.path.realpath(Path(path).expanduser())


def fits(chain: ServedChain, aims: Iterable[Aim]) -> bool:
    """Tell whether *chain* is of one of the CAs that are asked for; any other says nothing about a store."""
    return any(aim.root and _leads_to(chain.certificates, aim.root) for aim in aims)


def audit(
    store: Store, aims: Sequence[Aim], readers: Sequence[Reader], chains: Sequence[ServedChain], *, at: datetime
) -> list[StoreVerdict]:
    """Give the verdict on *store* for each aim and reader at the time *at*; served *chains* of the target are replayed.

    A store that holds the root and still refuses a chain which the target CA's servers have shown is never ready.
    """
    rows = []
    for aim in aims:
        for reader in readers:
            verdict, reason = _judge(store.contents, aim, reader, at)
            replayed = _replay(chains, store.contents, aim, reader, at)
            refusals = [text for accepted, text in replayed if not accepted]
            if refusals and verdict in trust.ACCEPTING:
                verdict, reason = "unknown", f"{reason}; but a served chain is refused: {refusals[0]}"
            rows.append(
                StoreVerdict(
                    store=str(store.path),
                    format=store.kind.name,
                    region=aim.region,
                    ca=aim.ca,
                    family=reader.family.name,
                    verdict=verdict,
                    reason=reason,
                    client=reader.client.name if reader.client else "",
                    driver=reader.client.driver if reader.client else "",
                    missing_sha256=_missing(store, aim),
                    root=aim.root.subject if aim.root else "unknown",
                    root_sha256=aim.root.sha256 if aim.root else "unknown",
                    replay="; ".join(text for _, text in replayed) or "no chain seen yet",
                )
            )
    return rows


def _judge(contents: Contents, aim: Aim, reader: Reader, at: datetime) -> tuple[str, str]:
    verdict, reason = trust.judge(
        contents,
        root=aim.root,
        region=aim.region,
        target_ca=aim.ca,
        offered=aim.offered,
        family=reader.family,
        now=at,
        formats=reader.client.formats if reader.client else (),
    )
    return reader.client.settle(verdict, reason) if reader.client else (verdict, reason)


def _missing(store: Store, aim: Aim) -> tuple[str, ...]:
    if aim.root is None or aim.root.sha256 in {c.sha256 for c in store.contents.certificates}:
        return ()
    return (aim.root.sha256,)


def _replay(
    chains: Sequence[ServedChain], contents: Contents, aim: Aim, reader: Reader, at: datetime
) -> list[tuple[bool, str]]:
    """Try each chain that leads to the target's root of the region: at the time *at*, and on the chain's last day."""
    formats = reader.client.formats if reader.client else ()

    def tried(served: ServedChain, when: datetime) -> tuple[bool, str]:
        return trust.replay(
            served.certificates, contents, family=reader.family, name=served.host, at=when, formats=formats
        )

    found: list[tuple[bool, str]] = []
    for served in chains if reader.family.engine != "windows" else ():
        if aim.root is None or not _leads_to(served.certificates, aim.root):
            continue
        accepted, why = tried(served, at)
        last = min(c.not_after for c in served.certificates) - timedelta(seconds=1)
        lasting, later = tried(served, last)
        if not accepted:
            found.append((False, f"refuses what {served.instance} served: {why}"))
        elif lasting:
            found.append((True, f"accepts what {served.instance} served, until {last:%Y-%m-%d}"))
        else:
            found.append((True, f"accepts what {served.instance} served now, and no more on {last:%Y-%m-%d}: {later}"))
    return found


def _leads_to(chain: Sequence[Certificate], root: Certificate | Known) -> bool:
    """Tell whether *chain* is of the CA of *root*; a server that sends its own certificate only is known by names."""
    return any(
        c.sha256 == root.sha256
        or (not c.is_root and (c.issuer == root.subject or trust.same_ca(c.issuer, root.subject)))
        for c in chain
    )


@dataclass(frozen=True)
class Checked:
    """What became of one store: its rows, and what could not be read or done."""

    rows: tuple[StoreVerdict, ...]
    problems: tuple[Problem, ...] = ()


def check_store(
    path: str,
    aims: Sequence[Aim],
    *,
    clients: Sequence[ClientEntry] = (),
    families: Sequence[str] = (),
    chains: Sequence[ServedChain] = (),
    password: Secret | None = None,
    roots: Sequence[Root] = (),
    apply: bool = False,
    at: datetime | None = None,
) -> Checked:
    """Audit the store at *path*, and with *apply* add those of the *roots* that it lacks.

    A store that cannot be read is a row of unknowns with the reason; only one that is not there raises.
    """
    at = at or now()
    try:
        store = open_store(path, password)
    except UsageError:
        raise
    except RdscaError as e:
        return _unread(path, aims, e)
    if store.kind.read is None and store.kind is not directory.KIND:
        return _unread(path, aims, writing.by_hand(store, roots))
    readers = readers_of(store, clients, families)
    before = audit(store, aims, readers, chains, at=at)
    if not apply:
        return Checked(tuple(before))
    try:
        change = writing.add(store, roots, password)
    except RdscaError as e:
        return Checked(tuple(before), (Problem(path, e.what, e.remedy),))
    if not change.added:
        return Checked(tuple(before))
    after = audit(open_store(path, password), aims, readers, chains, at=at)
    rows = tuple(_changed(old, new, change) for old, new in zip(before, after, strict=True))
    return Checked(rows, (Problem(path, change.note),) if change.note == writing.UNCONFIRMED else ())


def _changed(old: StoreVerdict, new: StoreVerdict, change: writing.Change) -> StoreVerdict:
    """Give the row after a change of its store; regions of which nothing was added did not change."""
    if new.root_sha256 not in change.added:
        return new
    return replace(new, before=old.verdict, added_sha256=(new.root_sha256,), backup=str(change.backup or ""))


def _unread(path: str, aims: Sequence[Aim], error: RdscaError) -> Checked:
    rows = tuple(
        StoreVerdict(
            store=path,
            format="unknown",
            region=aim.region,
            ca=aim.ca,
            family="unknown",
            verdict="unknown",
            reason=str(error),
            root=aim.root.subject if aim.root else "unknown",
            root_sha256=aim.root.sha256 if aim.root else "unknown",
        )
        for aim in aims
    )
    return Checked(rows, (Problem(path, error.what, error.remedy),))


def aims_of(known: Catalogue, regions: Sequence[str], ca: str) -> list[Aim]:
    """Ask for *ca* in each of the *regions*, by the catalogue alone; a region that nobody knows has no root."""
    return [Aim(region, ca, known.find(region, ca), known.offered(region)) for region in regions]


def roots_for(
    known: Catalogue, regions: Sequence[str], cas: Sequence[str], *, where: str, mirror: str
) -> tuple[Root, ...]:
    """Get the roots of *cas* in *regions* from the bundle *where*, each the very one that the catalogue names.

    Raises ``UnknownRoot`` for a region or CA that the catalogue lacks, and for a root that the bundle lacks.
    """
    got: dict[str, Bundle] = {}
    found = []
    for region in regions:
        facts = [known_roots.require_known(known, region, ca) for ca in cas]
        partition = catalogue.partition(region)
        if partition not in got:
            mine = [r for r in regions if catalogue.partition(r) == partition]
            got[partition] = bundles.get(where, region=region, mirror=mirror, known=known, regions=mine)
        for ca, fact in zip(cas, facts, strict=True):
            certificate = got[partition].root(fact.sha1)
            if certificate is None or certificate.sha256 != fact.sha256:
                raise UnknownRoot(
                    f"{got[partition].source} lacks the root of {ca} in {region}, {fact.subject}",
                    "name a bundle that holds it",
                )
            found.append(Root(certificate, ca, region))
    return tuple(found)


@dataclass(frozen=True)
class Built:
    """A store that was made: how many bytes it has, which roots it holds, and which were *left_out* for its size."""

    path: str
    size: int
    held: tuple[Root, ...]
    left_out: tuple[Root, ...]
    note: str = ""


def build_directory(path: str, wanted: Sequence[Root], *, most: int = 0) -> Built:
    """Make the directory at *path* with a file and a hash link for each of the *wanted* roots; *most* as in `build`."""

    def size(roots: Sequence[Root]) -> int:
        return sum(len(pem) for pem in {root.certificate.pem for root in roots})

    folder = _new_place(path)
    held, left_out = _within(wanted, size, most)
    try:
        directory.build(folder, held)
    except OSError as e:
        raise Refused(f"{path} cannot be made ({e.strerror})", "look at the folder above it") from None
    return Built(path, size(held), held, left_out, "written")


def build(path: str, wanted: Sequence[Root], make: Callable[[Sequence[Root]], bytes], *, most: int = 0) -> Built:
    """Make the store at *path* with the *wanted* roots; a file that is there already is never overwritten.

    With *most*, a size cap in bytes, CAs are left out until the store fits: first those that come last in *wanted*
    for a region, so that each region keeps its first. Raises ``Refused`` when not even one root a region fits,
    ``UsageError`` for a folder that is not there.
    """
    file = _new_place(path)
    held, left_out = _within(wanted, lambda roots: len(make(roots)), most)
    data = make(held)
    if file.exists():
        if file.is_file() and file.read_bytes() == data:
            return Built(path, len(data), held, left_out, "unchanged")
        raise Refused(f"{path} is there already", "add to it with rdsca trust add, or name another file")
    write_whole(file, data)
    return Built(path, len(data), held, left_out, "written")


def _within(
    wanted: Sequence[Root], size: Callable[[Sequence[Root]], int], most: int
) -> tuple[tuple[Root, ...], tuple[Root, ...]]:
    """Take as many CAs of each region as fit into *most* bytes (0: all), and give them and those left out."""
    regions = list(dict.fromkeys(r.region for r in wanted))
    ranked = {g: [r for r in wanted if r.region == g] for g in regions}
    held = tuple(wanted)
    for count in range(max(map(len, ranked.values())) - 1, 0, -1):
        if not most or size(held) <= most:
            break
        held = tuple(r for g in regions for r in ranked[g][:count])
    if most and size(held) > most:
        raise Refused(
            f"one root for each of {len(regions)} region(s) takes {size(held)} bytes, more than {most}",
            "name fewer regions, or make a store for each",
        )
    return held, tuple(r for r in wanted if r not in held)


def _new_place(path: str) -> Path:
    """Give where a new store is to stand; raises ``UsageError`` where none can."""
    file = Path(path).expanduser()
    try:
        (file.parent / f".{file.name}.12345678.part").exists()  # the longer name under which it is written first
        if not file.parent.is_dir():
            raise UsageError(f"{path} cannot be made: {file.parent} is no folder", "make the folder first")
    except OSError as e:
        raise UsageError(f"{path} cannot be made ({e.strerror})", "name another file") from None
    return file


def settings_of(profile: str) -> Mapping[str, str]:
    """Give rdsca's own settings of an AWS profile: known roots, a mirror of the bundle; none without a profile."""
    return Aws(profile=profile, account="").settings if profile else {}


def regions_of(text: str, known: Catalogue) -> list[str]:
    """Resolve "all" to every region of the catalogue's partition aws, or of all when it has no such."""
    checked = _checked("regions", text, "--regions")
    return list(known.regions("aws") or known.regions()) if checked == "all" else checked.split(",")


def cas_of(text: str) -> tuple[str, ...]:
    """Resolve "all" to the CAs of today, else check the one that is named."""
    return ALL_CAS if text == "all" else (_checked("target_ca", text, "--ca"),)


def _checked(name: str, text: str, option: str) -> str:
    try:
        return str(parameters.PARAMETERS[name].check(text))
    except ValueError as e:
        raise UsageError(f"{option} {e}") from None


ALL_CAS = ("rds-ca-rsa2048-g1", "rds-ca-ecc384-g1", "rds-ca-rsa4096-g1")  # that a size cap drops from the end on
BUILDERS = ("pem", "directory", "jks", "pkcs12", "p7b", "configmap", "secret")


def builder(
    form: str, *, password: Secret | None, name: str, namespace: str, key: str
) -> Callable[[Sequence[Root]], bytes]:
    """Give the function that makes a store of the format *form* (one of ``BUILDERS``, a directory aside)."""
    if form in ("configmap", "secret"):
        kind = {"configmap": "ConfigMap", "secret": "Secret"}[form]
        return lambda wanted: kubernetes.build_manifest(kind, name, namespace, key, wanted)
    make = next(k.build for k in all_kinds() if k.name == form and k.build)
    return lambda wanted: make(wanted, password)


def read_chain(path: str, host: str) -> ServedChain:
    """Read a chain that was saved as PEM, leaf first; *host* names whom it was served for, else its first name does."""
    try:
        text = Path(path).expanduser().read_text(encoding="ascii")
    except (OSError, UnicodeError) as e:
        raise UsageError(f"the chain {path} cannot be read ({getattr(e, 'strerror', '') or 'it is no PEM'})") from None
    certificates, complaints = read_pem(text)
    if complaints or not certificates:
        raise UsageError(f"{path} holds no clean chain: {'; '.join(complaints) or 'no certificate in it'}")
    if not host and not certificates[0].names:
        raise UsageError(f"the server's certificate in {path} holds no host name", "say whom it was served for: --host")
    return ServedChain(Path(path).name, host or next(iter(certificates[0].names), ""), tuple(certificates))


def chains_of(folder: RunFolder) -> list[ServedChain]:
    """Give the chains that verification has seen, as kept in the run folder."""
    return [ServedChain(name, host, tuple(read_pem(text)[0])) for name, (host, text) in folder.chains().items()]


def read_clients(path: str) -> tuple[ClientEntry, ...]:
    """Read the clients file at *path*; none when it is empty."""
    if not path:
        return ()
    try:
        return read_entries(Path(path).expanduser().read_text(encoding="utf-8"))
    except (OSError, UnicodeError) as e:
        raise UsageError(
            f"the clients file {path} cannot be read ({getattr(e, 'strerror', 'it is no text')})"
        ) from None


def retired(store: Store, known: Catalogue, *, at: datetime) -> tuple[list[Certificate], list[tuple[Certificate, str]]]:
    """Say what of RDS's in *store* has expired at the time *at* and may go, and what stays although it is retired.

    Nothing that is still valid goes: an instance that has not moved yet may be on it. Nothing of others goes.
    """
    going, staying = [], []
    for certificate in {e.certificate.sha256: e.certificate for e in store.contents.entries}.values():
        fact = known.by_sha256(certificate.sha256)
        if fact is None or fact.current:
            continue
        if certificate.not_after < at:
            going.append(certificate)
        else:
            staying.append(
                (certificate, f"AWS offers it no more, but it is valid until {certificate.not_after:%Y-%m-%d}")
            )
    return going, staying
