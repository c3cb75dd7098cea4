"""`rdsca trust` and `rdsca roots` as they are typed: what they print, what they write, and how they end."""

from __future__ import annotations

import base64
import ssl
import subprocess
from pathlib import Path

import pytest
import yaml
from authority import authority
from cadata import OWN, ca_data
from conftest import AwsSide, typed
from keystores import keytool
from practice import certificate
from wire import program

from rdsca_helpers.__main__ import main
from rdsca_helpers.certs import read_pem
from rdsca_helpers.edge.stores.opening import open_store

BUNDLE = OWN / "global-bundle-2026-09-25.pem"
FOUND = {c.subject: c for c in read_pem(BUNDLE.read_text())[0]}
WEST, CENTRAL = (FOUND[f"Amazon RDS {g} Root CA RSA2048 G1"] for g in ("eu-west-1", "eu-central-1"))
FOREIGN = authority("Somebody Else's Root").read
BOTH = ("--regions", "eu-west-1,eu-central-1")


@pytest.fixture(autouse=True)
def no_approvals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the user's own approvals and refreshed catalogue out, and what a test approves in its folder."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


@pytest.fixture
def pem(tmp_path: Path) -> Path:
    """A store with the root of eu-west-1 and a foreign one."""
    file = tmp_path / "store.pem"
    file.write_text(f"# ours\n{FOREIGN.pem}{WEST.pem}")
    return file


def shas(file: Path) -> set[str]:
    return {e.certificate.sha256 for e in open_store(str(file)).contents.entries}


def build(file: Path, form: str, *words: str) -> str:
    done = typed("trust", "build", str(file), "--format", form, "--bundle", str(BUNDLE), *words)
    assert done.code == 0, done.err
    return done.out


# --- audit


def test_audit_tells_each_verdict_and_ends_well_and_with_gate_it_ends_with_3(pem: Path) -> None:
    done = typed("trust", "audit", str(pem), *BOTH)
    assert done.code == 0
    assert done.out.splitlines()[0] == f"{pem} (pem)"
    assert "ready                openssl, openssl-partial, gnutls: rds-ca-rsa2048-g1 in eu-west-1" in done.out
    assert "wrong-region         openssl, openssl-partial, gnutls: rds-ca-rsa2048-g1 in eu-central-1" in done.out
    gated = typed("trust", "audit", str(pem), *BOTH, "--gate")
    assert gated.code == 3
    assert f"{pem} (wrong-region)" in gated.err
    assert typed("trust", "audit", str(pem), "--regions", "eu-west-1", "--gate").code == 0


def test_audit_with_gate_asks_every_ca_that_is_named(pem: Path) -> None:
    done = typed("trust", "audit", str(pem), "--regions", "eu-west-1", "--ca", "all", "--gate")
    assert done.code == 3
    assert "rds-ca-ecc384-g1 in eu-west-1" in done.out


def test_audit_judges_for_the_family_that_is_asked_for(pem: Path) -> None:
    words = ("trust", "audit", str(pem), "--regions", "eu-west-1", "--gate")
    done = typed(*words, "--family", "openssl:seclevel=3")
    assert done.code == 3
    assert "security level 3 refuses RSA2048" in done.out
    assert typed(*words, "--family", "nonsense").code == 2


def test_audit_judges_as_on_another_day(pem: Path) -> None:
    words = ("trust", "audit", str(pem), "--regions", "eu-west-1", "--family", "openssl", "--gate")
    after = f"{WEST.not_after.year + 1}-01-01"
    assert typed(*words).code == 0
    done = typed(*words, "--at", after)
    assert done.code == 3
    assert "refuses it now" in done.out
    assert typed(*words, "--at", "tomorrow").code == 2


def test_audit_asks_the_clients_of_a_clients_file(pem: Path, tmp_path: Path) -> None:
    file = tmp_path / "clients.yml"
    file.write_text(f"clients: [{{name: billing, driver: pymysql, settings: {{ssl_ca: x}}, store: {pem}}}]")
    done = typed("trust", "audit", str(pem), *BOTH, "--clients", str(file))
    assert done.code == 0
    assert "not-verifying        billing: " in done.out
    assert typed("trust", "audit", str(pem), *BOTH, "--clients", str(tmp_path / "none.yml")).code == 2


def test_audit_tries_a_served_chain(profile: AwsSide, tmp_path: Path) -> None:
    store, chain = tmp_path / "store.pem", tmp_path / "chain.pem"
    store.write_text(profile.world.pki.root_pem("eu-west-1", "rds-ca-rsa2048-g1"))
    whole = certificate(profile.world.pki, "rds-ca-rsa2048-g1").chain_pem
    words = ("trust", "audit", str(store), "--profile", "lab", "--regions", "eu-west-1", "--gate")
    chain.write_text(whole)
    done = typed(*words, "--chain", str(chain))
    assert done.code == 0
    assert "accepts what chain.pem served, until" in done.out
    named = typed(*words, "--chain", str(chain), "--host", "other.example")
    assert named.code == 3
    assert "not for other.example" in named.out
    leaf = read_pem(whole)[0][0]
    chain.write_text(leaf.pem)
    assert typed(*words, "--chain", str(chain)).code == 3
    chain.write_text("no chain")
    assert typed(*words, "--chain", str(chain)).code == 2


def test_audit_ends_with_4_for_what_it_cannot_read_after_it_has_told_the_rest(pem: Path, tmp_path: Path) -> None:
    (tmp_path / "page.pem").write_text("<html>")
    done = typed("trust", "audit", str(tmp_path / "page.pem"), str(pem), *BOTH)
    assert done.code == 4
    assert "HTML" in done.out
    assert f"{pem} (pem)" in done.out


def test_audit_ends_with_2_for_a_store_that_is_not_there_after_it_has_told_the_rest(pem: Path, tmp_path: Path) -> None:
    done = typed("trust", "audit", str(tmp_path / "nowhere"), str(pem), *BOTH, "--gate")
    assert done.code == 2
    assert f"{pem} (pem)" in done.out
    assert "nowhere cannot be read" in done.out
    assert "nowhere cannot be read" in done.err


@pytest.mark.parametrize(
    "words",
    [
        ("--regions", "foo"),
        ("--regions", ""),
        ("--regions", "EU-WEST-1"),
        ("--regions", "eu-west-1", "--ca", "nonsense"),
        ("--regions", "eu-west-1", "--ca", ""),
    ],
)
def test_a_region_or_ca_that_is_none_is_a_mistake_that_names_the_option(pem: Path, words: tuple[str, ...]) -> None:
    for command in (("audit", str(pem)), ("add", str(pem)), ("build", f"{pem}.new", "--format", "pem")):
        done = typed("trust", *command, *words)
        assert done.code == 2
        assert done.err.startswith(f"rdsca: {words[-2]} takes ")


def test_names_in_certificates_and_paths_steer_no_terminal_and_forge_no_line(tmp_path: Path) -> None:
    evil = authority("evil\x1b[2J\nx.pem (pem)\n  ready   all is well", begins=-400, ends=-1).read
    file = tmp_path / "a\nb\x1b[2J.pem"
    file.write_text(WEST.pem + evil.pem)
    jceks = tmp_path / "j\n.jceks"
    jceks.write_bytes(b"\xce\xce\xce\xce\0\0\0\2")
    told = [typed("trust", "audit", str(file), *BOTH), typed("trust", "audit", str(jceks), "--regions", "eu-west-1")]
    told += [typed("trust", what, str(file) + "x") for what in ("restore", "retire")]
    bundle = tmp_path / "bundle.pem"
    bundle.write_text(evil.pem)
    told.append(typed("roots", "approve", evil.sha256, "--bundle", str(bundle), "--by", "Jo"))
    assert [d.code for d in told] == [0, 4, 2, 2, 3]
    assert r"evil\u001b[2J\u000ax.pem (pem)" in told[0].out
    for done in told:
        assert "\x1b" not in done.out + done.err
        assert not [
            line for line in (done.out + done.err).splitlines() if line.startswith(("x.pem", "  ready   all", "b"))
        ]


def test_audit_knows_a_clients_store_by_any_way_to_write_it_and_names_clients_it_did_not_ask(
    pem: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link.pem").symlink_to(pem)
    file = tmp_path / "clients.yml"
    full = "driver: psycopg2, settings: {sslmode: verify-full, sslrootcert: x}"
    file.write_text(
        f"clients: [{{name: billing, {full}, store: ./link.pem}}, {{name: other, {full}, store: /x.pem}}, "
        f"{{name: nowhere, {full}}}]"
    )
    done = typed("trust", "audit", pem.name, *BOTH, "--clients", file.name)
    assert "billing: rds-ca-rsa2048-g1" in done.out
    assert "gnutls" not in done.out
    assert "not asked: other reads /x.pem" in done.out
    assert "not asked: nowhere reads a store that is not named" in done.out
    assert "not asked: billing" not in done.out


def test_audit_says_which_chain_is_of_no_ca_that_was_asked_for(pem: Path, tmp_path: Path) -> None:
    chain = tmp_path / "chain.pem"
    chain.write_text(authority("db", by=authority("Some CA"), ca=False, hosts="db.example").read.pem)
    words = ("trust", "audit", str(pem), "--regions", "eu-west-1", "--chain", str(chain))
    done = typed(*words)
    assert done.code == 0
    assert "not tried: the chain chain.pem is of none of the CAs" in done.out
    chain.write_text(authority("db", by=authority("Some CA"), ca=False).read.pem)
    nameless = typed(*words)
    assert nameless.code == 2
    assert "--host" in nameless.err
    assert typed(*words, "--host", "db.example").code == 0


def test_the_gate_says_add_the_roots_only_where_that_helps(pem: Path) -> None:
    words = ("trust", "audit", str(pem), "--gate", "--regions")
    assert "add the roots first" in typed(*words, "eu-central-1").err
    has_it = typed(*words, "eu-west-1", "--family", "openssl:seclevel=3")
    assert has_it.code == 3
    assert "add the roots" not in has_it.err


def test_audit_ends_with_10_for_a_region_that_nobody_knows(pem: Path) -> None:
    done = typed("trust", "audit", str(pem), "--regions", "xx-north-9")
    assert done.code == 10
    assert "unknown-ca" in done.out
    assert "rdsca roots" in done.err


# --- add, restore


def test_add_shows_then_applies_once_and_restore_undoes_it(pem: Path) -> None:
    before = pem.read_bytes()
    words = ("trust", "add", str(pem), *BOTH, "--bundle", str(BUNDLE))
    shown = typed(*words)
    assert shown.code == 0
    assert f"+ {CENTRAL.subject}, SHA-256 {CENTRAL.sha256}" in shown.out
    assert WEST.sha256 not in shown.out
    assert "nothing was changed" in shown.out
    assert pem.read_bytes() == before

    done = typed(*words, "--action", "apply")
    assert done.code == 0
    assert "1 root(s) added; backup" in done.out
    assert pem.read_bytes().startswith(before)
    assert shas(pem) == {WEST.sha256, CENTRAL.sha256, FOREIGN.sha256}
    after, stamp = pem.read_bytes(), pem.stat().st_mtime_ns
    again = typed(*words, "--action", "apply")
    assert "nothing to add" in again.out
    assert (pem.read_bytes(), pem.stat().st_mtime_ns) == (after, stamp)

    shown = typed("trust", "restore", str(pem))
    assert shown.code == 0
    assert "0 certificate(s) more, 1 less" in shown.out
    assert pem.read_bytes() == after
    assert typed("trust", "restore", str(pem), "--action", "apply").code == 0
    assert pem.read_bytes() == before


def test_add_refuses_what_it_does_not_write_and_names_the_command(tmp_path: Path) -> None:
    wallet = tmp_path / "cwallet.sso"
    wallet.write_bytes(bytes.fromhex("a1f84e36") + b"\0" * 80)
    done = typed("trust", "add", str(wallet), *BOTH, "--bundle", str(BUNDLE), "--action", "apply")
    assert done.code == 3
    assert "orapki wallet add" in done.err


def test_add_needs_a_bundle_that_holds_their_roots(pem: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.pem"
    cut.write_text(WEST.pem)
    assert typed("trust", "add", str(pem), *BOTH, "--bundle", str(cut)).code == 10
    assert typed("trust", "add", str(pem), "--regions", "xx-north-9", "--bundle", str(BUNDLE)).code == 10


def test_restore_without_a_backup_is_a_mistake(pem: Path) -> None:
    assert typed("trust", "restore", str(pem)).code == 2
    assert typed("trust", "restore", str(pem), str(pem), "--backup", "x").code == 2


def test_a_store_that_would_be_refused_is_told_when_shown_and_stops_apply_before_any_change(
    pem: Path, tmp_path: Path
) -> None:
    before = pem.read_bytes()
    linked, jceks = tmp_path / "linked.pem", tmp_path / "old.jceks"
    linked.write_bytes(before)
    (tmp_path / "again").hardlink_to(linked)
    jceks.write_bytes(b"\xce\xce\xce\xce\0\0\0\2")
    for last, code in ((linked, 3), (jceks, 3), (tmp_path / "nowhere", 2)):
        words = ("trust", "add", str(pem), str(last), *BOTH, "--bundle", str(BUNDLE))
        shown = typed(*words)
        assert f"{pem}: 1 root(s) would be added; nothing was changed" in shown.out
        assert (f"{last}: would be refused: " in shown.out) == (code == 3)
        assert typed(*words, "--action", "apply").code == code
        assert pem.read_bytes() == before
    words = ("trust", "add", str(linked), *BOTH, "--bundle", str(BUNDLE), "--in-place")
    assert "would be added" in typed(*words).out
    assert typed(*words, "--action", "apply").code == 0


def test_restore_and_retire_stop_before_any_change_and_write_in_place_when_asked(pem: Path, tmp_path: Path) -> None:
    old = [c for c in read_pem(ca_data("global-bundle-2023-05.pem").read_text())[0] if "2019" in c.subject]
    pem.write_text(pem.read_text() + "".join(c.pem for c in old))
    folder = tmp_path / "certifi"
    folder.mkdir()
    managed = folder / "cacert.pem"
    managed.write_bytes(pem.read_bytes())
    (tmp_path / "again").hardlink_to(managed)
    before = pem.read_bytes()
    retire = ("trust", "retire", "--action", "apply")
    for more in ((), ("--managed",), ("--in-place",)):
        assert typed(*retire, str(pem), str(managed), *more).code == 3
        assert pem.read_bytes() == before
    assert "would be refused: " in typed("trust", "retire", str(managed)).out
    assert typed(*retire, str(managed), "--managed", "--in-place").code == 0
    assert len(shas(managed)) < len(shas(pem))

    restore = ("trust", "restore", "--action", "apply")
    assert typed(*restore, str(managed)).code == 3
    assert typed(*restore, str(managed), str(pem), "--in-place").code == 2
    assert managed.read_bytes() != before
    assert typed(*restore, str(managed), "--in-place").code == 0
    assert (managed.read_bytes(), (tmp_path / "again").read_bytes()) == (before, before)
    again = typed(*restore, str(managed), "--in-place")
    assert again.code == 0
    assert "what stands there is this backup already; nothing was changed" in again.out
    assert managed.read_bytes() == before


# --- passwords


def test_a_password_is_never_taken_from_the_command_line_nor_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, secret = tmp_path / "store.jks", tmp_path / "secret"
    secret.write_text("hunter22\n")
    secret.chmod(0o600)
    build(store, "jks", *BOTH, "--password", f"file:{secret}")
    monkeypatch.setenv("WRONG", "swordfish")
    words = ("trust", "audit", str(store), *BOTH, "--gate", "--password")
    told = typed(*words, "hunter22")
    wrong = typed(*words, "env:WRONG")
    right = typed(*words, f"file:{secret}")
    secret.chmod(0o644)
    open_to_all = typed(*words, f"file:{secret}")
    assert [d.code for d in (told, wrong, right, open_to_all)] == [2, 4, 0, 3]
    for done in (told, wrong, right, open_to_all):
        assert "hunter22" not in done.out + done.err
        assert "swordfish" not in done.out + done.err
    assert "JKS" in keytool(store, "-list", password="hunter22")


# --- build


@pytest.mark.parametrize("form", ["jks", "pkcs12"])
def test_keytool_lists_what_was_built(tmp_path: Path, form: str) -> None:
    file = tmp_path / f"store.{form}"
    assert "2 root(s)" in build(file, form, *BOTH)
    assert keytool(file, "-list", type_=form).count("trustedCertEntry") == 2


def test_openssl_loads_a_pem_that_was_built(tmp_path: Path) -> None:
    build(tmp_path / "store.pem", "pem", *BOTH)
    context = ssl.create_default_context(cafile=str(tmp_path / "store.pem"))
    assert context.cert_store_stats() == {"x509": 2, "crl": 0, "x509_ca": 2}


def test_openssl_finds_what_a_built_directory_holds(tmp_path: Path) -> None:
    build(tmp_path / "store", "directory", *BOTH)
    (tmp_path / "root.pem").write_text(WEST.pem)
    words = [program("openssl", "openssl"), "verify", "-no-CAfile", "-CApath", str(tmp_path / "store")]
    done = subprocess.run([*words, str(tmp_path / "root.pem")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_openssl_reads_a_p7b_that_was_built(tmp_path: Path) -> None:
    build(tmp_path / "store.p7b", "p7b", *BOTH)
    words = [program("openssl", "openssl"), "pkcs7", "-print_certs", "-in", str(tmp_path / "store.p7b")]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert {c.sha256 for c in read_pem(done.stdout)[0]} == {WEST.sha256, CENTRAL.sha256}


@pytest.mark.parametrize(("form", "kind"), [("configmap", "ConfigMap"), ("secret", "Secret")])
def test_a_built_manifest_holds_the_roots_under_its_key(tmp_path: Path, form: str, kind: str) -> None:
    build(tmp_path / "m.yaml", form, *BOTH, "--name", "trust", "--namespace", "shop", "--key", "rds.pem")
    made = yaml.safe_load((tmp_path / "m.yaml").read_text())
    assert (made["apiVersion"], made["kind"]) == ("v1", kind)
    assert made["metadata"] == {"name": "trust", "namespace": "shop"}
    text = made.get("stringData", made["data"])["rds.pem"]
    text = text if "BEGIN" in text else base64.b64decode(text).decode()
    assert {c.sha256 for c in read_pem(text)[0]} == {WEST.sha256, CENTRAL.sha256}


@pytest.mark.parametrize("form", ["pem", "jks", "pkcs12", "p7b", "configmap", "secret"])
def test_the_same_input_gives_the_same_bytes(tmp_path: Path, form: str) -> None:
    for name in ("one", "two"):
        build(tmp_path / name, form, *BOTH, "--ca", "all")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    assert "unchanged" in build(tmp_path / "one", form, *BOTH, "--ca", "all")


def test_a_size_cap_takes_fewer_cas_of_each_region_and_says_which_are_left_out(tmp_path: Path) -> None:
    build(tmp_path / "all.pem", "pem", *BOTH, "--ca", "all")
    size = (tmp_path / "all.pem").stat().st_size
    said = build(tmp_path / "less.pem", "pem", *BOTH, "--ca", "all", "--max-bytes", str(size - 1))
    assert (tmp_path / "less.pem").stat().st_size < size
    assert {WEST.sha256, CENTRAL.sha256} < shas(tmp_path / "less.pem")
    assert said.count("left out for its size") == 2
    assert "RSA4096" in said
    for most, code in (("100", 3), ("-1", 2)):
        words = ("--format", "pem", "--bundle", str(BUNDLE), *BOTH, "--max-bytes", most)
        assert typed("trust", "build", str(tmp_path / "no.pem"), *words).code == code
    assert not (tmp_path / "no.pem").exists()


def test_a_size_cap_counts_for_a_directory_too(tmp_path: Path) -> None:
    build(tmp_path / "all", "directory", *BOTH, "--ca", "all")
    size = sum(f.stat().st_size for f in (tmp_path / "all").iterdir() if not f.is_symlink())
    said = build(tmp_path / "less", "directory", *BOTH, "--ca", "all", "--max-bytes", str(size - 1))
    assert said.count("left out for its size") == 2
    assert len(shas(tmp_path / "less")) == 4
    assert build(tmp_path / "fits", "directory", *BOTH, "--ca", "all", "--max-bytes", str(size)).count("left out") == 0
    words = ("--format", "directory", "--bundle", str(BUNDLE), *BOTH, "--max-bytes", "10")
    assert typed("trust", "build", str(tmp_path / "no"), *words).code == 3
    assert not (tmp_path / "no").exists()


@pytest.mark.parametrize("form", ["pem", "directory"])
def test_a_place_where_nothing_can_be_built_is_a_mistake(tmp_path: Path, form: str) -> None:
    (tmp_path / "file").touch()
    for place, words in (
        ("nodir/out", "nodir is no folder"),
        ("file/out", "file is no folder"),
        ("x" * 245, "File name too long"),
        ("x" * 300, "File name too long"),
    ):
        done = typed("trust", "build", str(tmp_path / place), "--format", form, "--bundle", str(BUNDLE), *BOTH)
        assert done.code == 2
        assert words in done.err
    assert [f.name for f in tmp_path.iterdir()] == ["file"]


def test_a_file_that_is_there_is_never_built_over(pem: Path) -> None:
    before = pem.read_bytes()
    done = typed("trust", "build", str(pem), "--format", "pem", "--bundle", str(BUNDLE), *BOTH)
    assert done.code == 3
    assert "is there already" in done.err
    assert pem.read_bytes() == before


# --- retire


def test_retire_takes_expired_roots_of_rds_and_nothing_that_is_valid_or_foreign(pem: Path) -> None:
    old = [c for c in read_pem(ca_data("global-bundle-2023-05.pem").read_text())[0] if "2019" in c.subject]
    gone = authority("Somebody's Expired Root", begins=-900, ends=-10).read
    pem.write_text(pem.read_text() + "".join(c.pem for c in old) + gone.pem)
    before = pem.read_bytes()
    shown = typed("trust", "retire", str(pem))
    assert shown.code == 0
    assert "would be taken out" in shown.out
    assert pem.read_bytes() == before
    done = typed("trust", "retire", str(pem), "--action", "apply")
    assert done.code == 0
    assert "backup" in done.out
    kept = {c.sha256 for c in old if f"stays {c.subject}:" in done.out}
    assert kept < {c.sha256 for c in old}
    assert shas(pem) == {WEST.sha256, FOREIGN.sha256, gone.sha256} | kept
    assert "nothing to take out" in typed("trust", "retire", str(pem), "--action", "apply").out


# --- advice, roots


def test_advice_gives_lines_and_traps_for_a_driver_and_lists_them_without_one() -> None:
    listed = typed("trust", "advice")
    assert listed.code == 0
    assert "pymysql" in listed.out
    said = typed("trust", "advice", "pymysql", "/etc/app/rds.pem", "--host", "db.example")
    assert said.code == 0
    assert "/etc/app/rds.pem" in said.out
    assert "db.example" in said.out
    assert "trap: ssl_ca alone verifies nothing" in said.out
    assert typed("trust", "advice", "nonsense").code == 2


def test_roots_list_approve_and_refresh_end_as_they_should(tmp_path: Path) -> None:
    assert WEST.sha256 in typed("roots", "list", "--region", "eu-west-1").out
    assert typed("roots", "list", "--region", "xx-north-9").code == 10
    new = tmp_path / "new.pem"
    new.write_text(authority("Amazon RDS xx-north-9 Root CA RSA2048 G1").read.pem)
    sha256 = read_pem(new.read_text())[0][0].sha256
    assert typed("roots", "approve", "12", "--bundle", str(new), "--by", "Jo").code == 2
    assert typed("roots", "approve", WEST.sha256[::-1], "--bundle", str(new), "--by", "Jo").code == 3
    assert typed("roots", "approve", sha256, "--bundle", str(new), "--by", "Jo").code == 0
    assert sha256 in typed("roots", "list", "--region", "xx-north-9").out
    into = ("--into", str(tmp_path / "catalogue.json"))
    assert typed("roots", "refresh", "--from", str(BUNDLE), *into).code == 0


@pytest.mark.parametrize(
    "words", ["trust", "trust audit", "trust nonsense", "trust add STORE", "roots", "roots approve"]
)
def test_words_that_are_missing_or_unknown_are_a_mistake(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(words.split())
    assert "usage:" in capsys.readouterr().err
