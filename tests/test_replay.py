"""A chain once served, replayed against stores; the real consumers say whether the answer is right."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg2
import pymysql
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID, NameOID
from practice import NAME, NEW, OLD, PASSWORDS, REGION, certificate, prepared
from test_servers import log_in
from wire import (
    certificates,
    curl,
    gnutls,
    homes,
    java,
    keystore,
    node,
    openssl,
    program,
    python,
    serving,
)

from rdsca_helpers.certs import Certificate, read_der
from rdsca_helpers.lab.pki import CURRENT, Pki, Served
from rdsca_helpers.lab.servers import Server
from rdsca_helpers.trust import FAMILIES, Contents, Entry, family, replay

NOW = datetime.now(UTC)
WRONG = "other.abcdefghijkl.eu-west-1.rds.amazonaws.com"
RSA, RSA4096, ECC = CURRENT


def ago(days: float) -> datetime:
    return NOW - timedelta(days=days)


def ahead(days: float) -> datetime:
    return NOW + timedelta(days=days)


@dataclass(frozen=True)
class Made:
    """A certificate made for a test, with the key that belongs to it."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def read(self) -> Certificate:
        return read_der(self.certificate.public_bytes(serialization.Encoding.DER))

    @property
    def key_pem(self) -> str:
        form = serialization.PrivateFormat.PKCS8
        return self.key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()).decode()


def make(
    common_name: str,
    issuer: Made | None = None,
    *,
    begins: datetime | None = None,
    ends: datetime | None = None,
    path_length: int | None = None,
    names: Sequence[str] = (),
    more: Sequence[x509.ExtensionType] = (),
) -> Made:
    """Make a CA (or with *names* a server certificate), signed by *issuer* or by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    above = issuer.certificate if issuer else None
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(above.subject if above else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins or ago(900))
        .not_valid_after(ends or ahead(900))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.BasicConstraints(ca=not names, path_length=path_length), critical=True)
    )
    if above and issuer:
        identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.key.public_key())
        builder = builder.add_extension(identifier, critical=False)
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(n) for n in names]), critical=False)
    else:
        usage = x509.KeyUsage(*(value == "sign" for value in ("", "", "", "", "", "sign", "sign", "", "")))
        builder = builder.add_extension(usage, critical=True)
    for extension in more:
        builder = builder.add_extension(extension, critical=False)
    return Made(builder.sign(issuer.key if issuer else key, hashes.SHA256()), key)


@dataclass(frozen=True)
class Case:
    """What a server shows under *key*, and the name that the client asks for."""

    key: str
    chain: tuple[Certificate, ...]
    name: str = NAME


@dataclass
class World:
    """Stores and served chains, each with a name; every chain meets every store."""

    cases: dict[str, Case] = field(default_factory=dict)
    stores: dict[str, tuple[Certificate, ...]] = field(default_factory=dict)

    def pairs(self) -> Iterator[tuple[str, str]]:
        yield from ((case, store) for case in self.cases for store in self.stores)


def world_of(pki: Pki) -> World:
    """Lay out the stores and chains of an instance that moved from one CA to another, and some that went wrong."""

    def issued(ca: str, days: float = 300) -> tuple[Served, tuple[Certificate, ...]]:
        served = certificate(pki, ca, days)
        return served, tuple(certificates(served.chain_pem))

    good, chain = issued(ECC)
    late, expired = issued(ECC, days=-1)
    leaf, subordinate, root = chain
    _, (_, old_subordinate, old_root) = issued(RSA)
    (ended_root,) = certificates(pki.root_pem(REGION, "rds-ca-2019"))
    long_root = make("Root that ended", ends=ago(10))
    young = make("Subordinate of it", long_root, path_length=0)
    server = make(NAME, young, names=[NAME], begins=ago(5), ends=ahead(100))
    past = make("Subordinate that ended", long_root, begins=ago(800), ends=ago(2))
    behind = make(NAME, past, names=[NAME], begins=ago(5), ends=ahead(100))
    return World(
        {
            "full": Case(good.key_pem, chain),
            "without root": Case(good.key_pem, chain[:2]),
            "leaf only": Case(good.key_pem, chain[:1]),
            "expired leaf": Case(late.key_pem, expired),
            "expired leaf alone": Case(late.key_pem, expired[:1]),
            "wrong name": Case(good.key_pem, chain, WRONG),
            "expired root": Case(server.key_pem, (server.read, young.read, long_root.read)),
            "expired subordinate": Case(behind.key_pem, (behind.read, past.read, long_root.read)),
        },
        {
            "target root": (root,),
            "issuing subordinate": (subordinate,),
            "leaf": (leaf,),
            "expired leaf": (expired[0],),
            "old root": (old_root,),
            "old subordinate": (old_subordinate,),
            "old and new": (old_root, root),
            "expired old and new": (ended_root, root),
            "root and subordinate": (root, subordinate),
            "old root and leaf": (old_root, leaf),
            "expired root": (long_root.read,),
            "expired root and its subordinate": (long_root.read, young.read),
            "subordinate of the expired root": (young.read,),
            "expired subordinate": (past.read, long_root.read),
            "empty": (),
        },
    )


@pytest.fixture(scope="module")
def world(pki: Pki) -> World:
    return world_of(pki)


@pytest.fixture(scope="module")
def ports(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, int]]:
    """Serve every chain of the world, and give each one's port."""
    folder = tmp_path_factory.mktemp("served")
    with ExitStack() as stack:
        yield {name: stack.enter_context(serving(c.key, c.chain, folder)) for name, c in world.cases.items()}


@pytest.fixture(scope="module")
def files(world: World, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("stores")
    paths = {name: folder / f"{number}.pem" for number, name in enumerate(world.stores)}
    for name, path in paths.items():
        path.write_text("".join(c.pem for c in world.stores[name]))
    return paths


def contents(found: Sequence[Certificate], form: str = "pem") -> Contents:
    return Contents(form, tuple(Entry(c) for c in found))


def replayed(world: World, client: str, form: str = "pem") -> dict[tuple[str, str], bool]:
    """Give our own answer for every chain and store."""
    found = {}
    for case, store in world.pairs():
        one = world.cases[case]
        found[case, store] = replay(
            one.chain, contents(world.stores[store], form), family=family(client), name=one.name, at=NOW
        )[0]
    return found


# The real consumers


@pytest.mark.parametrize(
    ("client", "ask"),
    [
        ("openssl", python),
        ("openssl-partial", lambda *words: python(*words, partial=True)),
        ("openssl-partial", curl),
        ("gnutls", gnutls),
    ],
    ids=["Python to 3.12", "Python from 3.13", "curl", "gnutls-cli"],
)
def test_a_replay_says_what_the_real_client_says(
    client: str, ask: Callable[[Path, int, str], bool], world: World, ports: dict[str, int], files: dict[str, Path]
) -> None:
    real = {(c, s): ask(files[s], ports[c], world.cases[c].name) for c, s in world.pairs()}
    assert replayed(world, client) == real
    assert any(real.values())


def test_a_replay_says_what_node_says(world: World, ports: dict[str, int], files: dict[str, Path]) -> None:
    pairs = list(world.pairs())
    answers = node([(files[s], ports[c], world.cases[c].name) for c, s in pairs])
    assert replayed(world, "openssl") == dict(zip(pairs, answers, strict=True))
    assert any(answers)


@pytest.mark.parametrize("client", ["openssl", "openssl-partial"])
def test_a_replay_at_any_date_says_what_openssl_verify_says_of_that_date(
    client: str, world: World, files: dict[str, Path]
) -> None:
    words = ("-partial_chain", "-x509_strict") if client == "openssl-partial" else ()
    dates = [ago(1200), ago(20), NOW, ahead(200), ahead(301), ahead(365 * 20)]
    answers = []
    for case in ("full", "leaf only", "expired root", "wrong name"):
        for store in ("target root", "issuing subordinate", "leaf", "old and new", "expired root", "empty"):
            for at in dates:
                one = world.cases[case]
                ours, why = replay(
                    one.chain, contents(world.stores[store]), family=family(client), name=one.name, at=at
                )
                judged, printed = openssl(one.chain, files[store], *words, at=at, name=one.name)
                assert ours == judged, (case, store, at, why, printed)
                if (number := why.partition("OpenSSL error ")[2]) and case != "wrong name" and store != "empty":
                    assert f"error {number.split()[0]} at" in printed, (case, store, why, printed)
                answers.append(ours)
    assert 5 < sum(answers) < len(answers) - 5


def java_stores(world: World, folder: Path) -> dict[str, Path]:
    return {name: keystore(folder / f"{n}.p12", found) for n, (name, found) in enumerate(world.stores.items()) if found}


@pytest.fixture(scope="module")
def keystores(world: World, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return java_stores(world, tmp_path_factory.mktemp("keystores"))


@pytest.fixture(scope="module")
def java_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the Java client is compiled once."""
    program("javac", "default-jdk-headless")
    return tmp_path_factory.mktemp("java")


@pytest.mark.parametrize("home", homes() or [None], ids=lambda home: home.name if home else "no JDK")
def test_a_replay_says_what_java_says(
    home: Path | None, world: World, ports: dict[str, int], keystores: dict[str, Path], java_folder: Path
) -> None:
    pairs = [(c, s) for c, s in world.pairs() if s in keystores]
    answers = java([(keystores[s], ports[c], world.cases[c].name) for c, s in pairs], java_folder, home=home)
    ours = replayed(world, "java", "pkcs12")
    assert {pair: ours[pair] for pair in pairs} == {
        pair: answer == "ok" for pair, answer in zip(pairs, answers, strict=True)
    }
    assert "ok" in answers


# Limits of algorithms


@pytest.mark.parametrize("level", range(6))
@pytest.mark.parametrize("ca", CURRENT)
def test_a_security_level_refuses_what_openssl_refuses_at_it(pki: Pki, tmp_path: Path, ca: str, level: int) -> None:
    chain = certificates(certificate(pki, ca).chain_pem)
    store = tmp_path / "root.pem"
    store.write_text(chain[-1].pem)
    judged, printed = openssl(chain, store, "-auth_level", str(level))
    ours, why = replay(chain, contents(chain[-1:]), family=family(f"openssl:seclevel={level}"), name=NAME, at=NOW)
    assert ours == judged, (why, printed)
    assert ours == (level <= {RSA: 2, RSA4096: 3, ECC: 4}[ca])
    if not ours:
        assert f"level {level}" in why


def test_a_signature_with_sha1_is_refused_at_level_2_and_the_anchors_own_is_not_looked_at(tmp_path: Path) -> None:
    leaf, root, key = (tmp_path / name for name in ("leaf.pem", "root.pem", "key.pem"))

    def issue(file: Path, *words: str | Path) -> None:
        usual = [program("openssl", "openssl"), "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "90"]
        subprocess.run([*usual, "-out", file, *words], check=True, capture_output=True)

    issue(root, "-sha1", "-subj", "/CN=Old", "-keyout", key)
    answers = {}
    for digest in ("-sha1", "-sha256"):
        names = ["-addext", f"subjectAltName=DNS:{NAME}", "-addext", "basicConstraints=critical,CA:FALSE"]
        issue(leaf, digest, "-CA", root, "-CAkey", key, "-subj", f"/CN={NAME}", *names, "-keyout", tmp_path / "own.pem")
        chain = certificates(leaf.read_text() + root.read_text())
        for level in (0, 1, 2):
            judged, printed = openssl(chain, root, "-auth_level", str(level))
            ours, why = replay(
                chain, contents(chain[1:]), family=family(f"openssl:seclevel={level}"), name=NAME, at=ahead(1)
            )
            assert ours == judged, (digest, level, why, printed)
            answers[digest, level] = ours
    assert answers[("-sha256", 2)]
    assert not answers[("-sha1", 2)]


@pytest.mark.parametrize("limit", ["no-ec", "rsa>=3072", "rsa>=4096", "rsa>=4097"])
def test_a_limit_of_java_refuses_what_java_refuses_with_it(
    limit: str, pki: Pki, tmp_path: Path, java_folder: Path
) -> None:
    home = next((h for h in homes() if "17" in h.name), None)
    if home is None and limit == "no-ec":
        pytest.skip("no JDK 17 under /usr/lib/jvm, whose curves can be left out; on Debian: openjdk-17-jdk-headless")
    options = ["--limit-modules", "java.base"]
    if limit != "no-ec":
        least = limit.removeprefix("rsa>=")
        security = tmp_path / "java.security"
        security.write_text(f"jdk.certpath.disabledAlgorithms=RSA keySize < {least}\n")
        options = [f"-Djava.security.properties={security}"]
    with ExitStack() as stack:
        questions, ours = [], []
        for number, ca in enumerate(CURRENT):
            served = certificate(pki, ca)
            chain = certificates(served.chain_pem)
            port = stack.enter_context(serving(served.key_pem, chain, tmp_path))
            for held in ("root", "leaf"):
                anchors = [chain[-1] if held == "root" else chain[0]]
                questions.append((keystore(tmp_path / f"{held}{number}.p12", anchors), port, NAME))
                java_with = family(f"java:{limit}")
                ours.append(replay(chain, contents(anchors, "pkcs12"), family=java_with, name=NAME, at=NOW)[0])
        answers = java(questions, java_folder, *options, home=home)
    assert ours == [answer == "ok" for answer in answers], answers
    assert "ok" in answers
    assert answers.count("ok") < len(answers)


# What else a path may be refused for


def odd_chains() -> dict[str, tuple[Made, Made, Made]]:
    """Give leaf, subordinate and root of chains that are wrong in one place, or only look so."""
    root = make("Odd root")
    short = make("Odd root that allows none below", path_length=0)
    plain, sealed = make("Odd subordinate", root, path_length=0), make("Odd subordinate, sealed", short)
    server = [x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])]
    other = [x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])]
    any_use = [x509.ExtendedKeyUsage([ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE])]
    no_ca = make("Odd leaf that signs", root, names=["signs.example.org"])
    stranger = make("Odd subordinate", make("Odd root"), path_length=0)
    star = [NAME.replace("orders", "*")]
    return {
        "for servers": (make(NAME, plain, names=[NAME], more=server), plain, root),
        "for any use": (make(NAME, plain, names=[NAME], more=any_use), plain, root),
        "for clients only": (make(NAME, plain, names=[NAME], more=other), plain, root),
        "path too long": (make(NAME, sealed, names=[NAME]), sealed, short),
        "signed by a leaf": (make(NAME, no_ca, names=[NAME]), no_ca, root),
        "signed by a namesake": (make(NAME, stranger, names=[NAME]), plain, root),
        "not yet valid": (make(NAME, plain, names=[NAME], begins=ahead(5)), plain, root),
        "star": (make(NAME, plain, names=star), plain, root),
        "second name": (make(NAME, plain, names=["first.example.org", NAME]), plain, root),
        "no such name": (make(NAME, plain, names=["first.example.org"]), plain, root),
    }


@pytest.mark.parametrize("backwards", [False, True], ids=["in order", "out of order"])
def test_an_odd_chain_is_refused_or_taken_as_the_real_clients_do(
    backwards: bool, tmp_path: Path, java_folder: Path
) -> None:
    chains = odd_chains()
    real: dict[str, list[bool]] = {}
    ours: dict[str, list[bool]] = {}
    with ExitStack() as stack:
        questions = []
        for number, (case, (leaf, subordinate, root)) in enumerate(chains.items()):
            rest = (root.read, subordinate.read) if backwards else (subordinate.read, root.read)
            chain = (leaf.read, *rest)
            port = stack.enter_context(serving(leaf.key_pem, chain, tmp_path))
            pem = tmp_path / f"{number}.pem"
            pem.write_text(root.read.pem)
            questions.append((keystore(tmp_path / f"{number}.p12", [root.read]), port, NAME))
            real[case] = [python(pem, port, NAME), python(pem, port, NAME, partial=True), gnutls(pem, port, NAME)]
            ours[case] = [
                replay(chain, contents([root.read], form), family=family(f), name=NAME, at=NOW)[0]
                for f, form in (("openssl", "pem"), ("openssl-partial", "pem"), ("gnutls", "pem"), ("java", "pkcs12"))
            ]
        for case, answer in zip(chains, java(questions, java_folder), strict=True):
            real[case].append(answer == "ok")
    assert ours == real
    assert ours["for servers"] == [True] * 4
    assert ours["for clients only"] == [False] * 4


@pytest.mark.parametrize("client", FAMILIES)
def test_a_certificate_with_garbage_inside_is_refused_as_openssl_refuses_it(client: str, tmp_path: Path) -> None:
    garbage = [x509.UnrecognizedExtension(ExtensionOID.EXTENDED_KEY_USAGE, b"\0")]
    root = make("Odd root")
    chain = [make(NAME, root, names=[NAME], more=garbage).read, root.read]
    (tmp_path / "root.pem").write_text(root.read.pem)
    assert not openssl(chain, tmp_path / "root.pem")[0]
    form = "jks" if client == "java" else "pem"
    accepted, why = replay(chain, contents(chain[1:], form), family=family(client), name=NAME, at=NOW)
    assert not accepted
    assert why


def test_a_file_that_a_client_cannot_load_accepts_nothing(pki: Pki) -> None:
    chain = certificates(certificate(pki, ECC).chain_pem)
    for found in (
        contents(chain[-1:], "jks"),
        Contents(
            "pem", (Entry(chain[-1]),), ("line 9: this block is no certificate, and OpenSSL refuses the whole file",)
        ),
        Contents("pem", (Entry(chain[-1], anchor=False),)),
    ):
        accepted, why = replay(chain, found, family=FAMILIES["openssl"], name=NAME, at=NOW)
        assert not accepted
        assert why
    assert replay([], contents(chain[-1:]), family=FAMILIES["openssl"], name=NAME, at=NOW) == (
        False,
        "no certificate was served",
    )


# Database clients


def login_psycopg(server: Server, store: Path) -> bool:
    try:
        log_in(server, store).close()
    except psycopg2.OperationalError as e:
        return "certificate verify failed" not in str(e)
    return True


def login_pymysql(server: Server, store: Path) -> bool:
    try:
        with closing(log_in(server, store)):
            return True
    except pymysql.OperationalError as e:
        return "CERTIFICATE_VERIFY_FAILED" not in str(e)


def login_psql(server: Server, store: Path) -> bool:
    where = f"host={NAME} hostaddr=127.0.0.1 port={server.port} user=app dbname=app"
    words = [program("psql", "postgresql-client"), "-Xqc", "select 1"]
    return run_client(
        [*words, f"{where} sslmode=verify-full sslrootcert={store}"], {"PGPASSWORD": PASSWORDS["app"]}, "verify failed"
    )


def login_mariadb(server: Server, store: Path) -> bool:
    words = [
        program("mariadb", "mariadb-client-core"),
        "--no-defaults",
        "--protocol=tcp",
        "-h",
        "localhost",
        "-u",
        "app",
    ]
    words += ["-P", str(server.port), f"--ssl-ca={store}", "--ssl-verify-server-cert", "-e", "select 1"]
    return run_client(words, {"MYSQL_PWD": PASSWORDS["app"]}, "certificate")


def run_client(words: list[str], secret: dict[str, str], refusal: str) -> bool:
    """Run a database program; a failure with another reason than *refusal* got past the certificate."""
    done = subprocess.run(
        words, env={**os.environ, **secret, "LC_ALL": "C"}, capture_output=True, text=True, check=False, timeout=60
    )
    return done.returncode == 0 or refusal not in done.stderr


@pytest.fixture(scope="module", params=["postgres", "mariadb", "mysql"])
def server(request: pytest.FixtureRequest, templates: Path, pki: Pki) -> Iterator[Server]:
    server = prepared(request.param, templates)
    server.start(certificate(pki, OLD))
    yield server
    server.stop()


@pytest.mark.parametrize("served", [OLD, NEW])
def test_a_replay_of_what_a_database_serves_says_whether_its_driver_logs_in(
    server: Server, served: str, pki: Pki, tmp_path: Path
) -> None:
    shown = pki.issue(REGION, served, [NAME, "localhost"], ago(60), ahead(300))
    server.serve(shown)
    chain = certificates(shown.chain_pem)
    (old,), (new,) = (certificates(pki.root_pem(REGION, ca)) for ca in (OLD, NEW))
    answers = []
    for number, held in enumerate([(old,), (new,), (old, new), tuple(chain[1:2]), tuple(chain[:1])]):
        store = tmp_path / f"{number}.pem"
        store.write_text("".join(c.pem for c in held))
        ways = (login_psycopg, login_psql) if server.kind == "postgres" else (login_pymysql, login_mariadb)
        real, by_program = (way(server, store) for way in ways)
        assert real == by_program, number
        ours, why = replay(chain, contents(held), family=FAMILIES["openssl"], name=NAME, at=NOW)
        assert ours == real, (number, why)
        answers.append(real)
    assert answers == ([True, False, True] if served == OLD else [False, True, True]) + [False, False]
