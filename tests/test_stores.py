"""The verb of notebook 03 on the practice AWS: every kind of store audited, made ready, and tried against chains."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from authority import authority
from cadata import ca_data
from conftest import AwsSide
from practice import certificate

import rdsca_helpers as rdsca
from rdsca_helpers import catalogue, outcome
from rdsca_helpers.certs import read_pem
from rdsca_helpers.edge.run import Run
from rdsca_helpers.edge.stores.opening import open_store
from rdsca_helpers.errors import UnknownRoot, UsageError
from rdsca_helpers.lab import folder, stores
from rdsca_helpers.lab.seed import BILLING, CENTRAL, LEGACY, SHOP, WEST
from rdsca_helpers.model import Inventory, StoreVerdict, Trust
from rdsca_helpers.plan import accepts, trusted_in
from rdsca_helpers.runbook.trust import retired
from rdsca_helpers.start import start

CA = "rds-ca-rsa2048-g1"


@pytest.fixture
def world(profile: AwsSide, tmp_path: Path) -> Path:
    """The folder of a lab with its trust stores and clients files, as a start writes them."""
    where = tmp_path / "profile"
    stores.write_stores(where, profile.world.pki)
    stores.write_clients(where)
    return where


def opened(where: Path, account: str = SHOP, **values: Any) -> Run:
    given = {"run_dir": str(where), "regions": f"{WEST},{CENTRAL}", **values}
    return start("03-trust-stores", given | {"account": account, "role": "" if account == SHOP else "rdsca"})


def found(where: Path, account: str = SHOP) -> Inventory:
    values = {"run_dir": str(where), "regions": f"{WEST},{CENTRAL}", "account": account}
    return rdsca.discover(start("01-discover", values | {"role": "" if account == SHOP else "rdsca"}))


def checked(where: Path, path: Path, clients: str, inventory: Inventory | None = None, **values: Any) -> Trust:
    """Check one store, with the clients file that holds *clients*."""
    file = where.with_suffix(".yml")
    file.write_text(clients or "clients: []")
    run = opened(where, **{"stores": str(path), "clients": str(file), "regions": WEST} | values)
    return rdsca.check_stores(run, inventory or of_west(found(where)))


def of_west(inventory: Inventory) -> Inventory:
    return replace(inventory, rows=tuple(r for r in inventory.rows if r.region == WEST))


def verdicts(report: Trust) -> dict[tuple[str, str, str], str]:
    return {(Path(r.store).name, r.client or r.family, r.region): r.verdict for r in report.rows}


def every_file(where: Path) -> dict[str, tuple[bytes, int]]:
    return {str(p): (p.read_bytes(), p.stat().st_mtime_ns) for p in where.rglob("*") if p.is_file()}


def given(where: Path, account: str) -> dict[str, str]:
    """Give the parameters that an account's row of the accounts file has."""
    names = [str(folder.store(where, n)) for n, (owner, _) in folder.STORES.items() if owner == account]
    return {"stores": ",".join(names), "clients": str(folder.clients(where, account))}


def test_each_store_has_a_row_for_each_region_and_client_and_the_profile_names_them(
    world: Path, tmp_path: Path
) -> None:
    report = rdsca.check_stores(opened(tmp_path / "run"), found(tmp_path / "run"))
    assert verdicts(report) == {
        ("shop-orders.pem", "orders-api", WEST): "ready",
        ("shop-orders.pem", "orders-api", CENTRAL): "ready",
        ("shop-orders.pem", "pricing-api", WEST): "ready",
        ("shop-orders.pem", "pricing-api", CENTRAL): "ready",
        ("shop-orders.pem", "orders-export", WEST): "not-verifying",
        ("shop-orders.pem", "orders-export", CENTRAL): "not-verifying",
        ("shop-catalog.pem", "catalog-web", WEST): "ready",
        ("shop-catalog.pem", "catalog-web", CENTRAL): "wrong-region",
        ("shop-catalog.pem", "catalog-search", WEST): "not-verifying",
        ("shop-catalog.pem", "catalog-search", CENTRAL): "not-verifying",
        ("reports.pem", "reports", WEST): "ready",
        ("reports.pem", "reports", CENTRAL): "wrong-region",
        ("shop-warehouse.jks", "warehouse", WEST): "wrong-region",
        ("shop-warehouse.jks", "warehouse", CENTRAL): "ready",
    }
    assert report.problems == ()
    assert outcome.code(report) == 0
    assert "1 of 4 trust store(s)" in report.meaning
    assert "catalog-search, orders-export" in report.meaning


@pytest.mark.parametrize("account", [SHOP, BILLING, LEGACY])
def test_apply_makes_every_store_ready_and_a_second_run_touches_nothing(
    world: Path, tmp_path: Path, account: str
) -> None:
    run, inventory, values = tmp_path / "run", found(tmp_path / "run", account), given(world, account)
    before = every_file(world / "stores")
    shown = rdsca.check_stores(opened(run, account, **values), inventory)
    assert every_file(world / "stores") == before
    lacking = {(r.store, r.region) for r in shown.rows if r.missing_sha256}
    assert lacking

    report = rdsca.check_stores(opened(run, account, action="apply", **values), inventory)
    assert report.problems == ()
    assert all(accepts(r) and not r.missing_sha256 for r in report.rows)
    assert {(r.store, r.region) for r in report.rows if r.before} == lacking
    was = {(r.store, r.client, r.family, r.region): r.verdict for r in shown.rows}
    for row in report.rows:
        key = (row.store, row.client, row.family, row.region)
        assert row.before == (was[key] if (row.store, row.region) in lacking else "")
        assert row.added_sha256 == ((row.root_sha256,) if row.before else ())
        if row.before and not Path(row.store).is_dir():
            assert Path(row.backup).read_bytes() == before[row.store][0]
        held = {e.certificate.sha256 for e in open_store(row.store).contents.entries}
        assert row.root_sha256 in held

    after = every_file(world / "stores")
    again = rdsca.check_stores(opened(run, account, action="apply", **values), inventory)
    assert every_file(world / "stores") == after
    assert all(accepts(r) and not r.added_sha256 and not r.before for r in again.rows)


def test_a_key_and_what_is_foreign_in_a_keystore_stay(world: Path, tmp_path: Path) -> None:
    file = folder.store(world, "shop-warehouse.jks")
    old = file.read_bytes()
    rdsca.check_stores(opened(tmp_path / "run", action="apply", stores=str(file)), found(tmp_path / "run"))
    new = file.read_bytes()
    assert new != old
    assert old[12:-20] in new  # every entry, byte for byte
    assert open_store(str(file)).contents.keys == 1


def test_a_pkcs12_that_java_sees_nothing_in_is_told_and_mended(world: Path, tmp_path: Path) -> None:
    file = folder.store(world, "billing-ledger.p12")
    (row,) = checked(tmp_path / "run", file, "").rows
    assert (row.family, row.verdict) == ("java", "empty-for-java")
    assert not accepts(row)
    (row,) = checked(tmp_path / "run", file, "", action="apply").rows
    assert (row.before, row.verdict) == ("empty-for-java", "ready")


def test_a_store_that_cannot_be_read_is_a_row_of_unknowns_with_the_reason(world: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.pem"
    bad.write_text("<html>no")
    report = checked(tmp_path / "run", bad, "", action="apply")
    (row,) = report.rows
    assert (row.verdict, row.format, row.region) == ("unknown", "unknown", WEST)
    assert "HTML" in row.reason
    assert [p.where for p in report.problems] == [str(bad)]
    assert outcome.code(report) == 4
    assert not accepts(row)
    assert "nobody knows" in report.meaning
    assert bad.read_text() == "<html>no"


def test_a_wrong_password_is_a_row_of_unknowns_and_never_shown(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("STORE_PASSWORD", "hunter2")
    file = folder.store(world, "billing-ledger.p12")
    report = checked(tmp_path / "run", file, "", store_password="env:STORE_PASSWORD")
    assert [r.verdict for r in report.rows] == ["unknown"]
    assert "hunter2" not in repr(report) + capsys.readouterr().out


def test_a_store_that_is_not_there_ends_the_step(world: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nowhere\.pem cannot be read"):
        checked(tmp_path / "run", tmp_path / "nowhere.pem", "")


def test_a_kind_that_rdsca_does_not_write_names_the_very_command(world: Path, tmp_path: Path) -> None:
    wallet = tmp_path / "cwallet.sso"
    wallet.write_bytes(bytes.fromhex("a1f84e36") + b"\0" * 80)
    report = checked(tmp_path / "run", wallet, "", action="apply")
    (row,) = report.rows
    assert row.verdict == "unknown"
    (problem,) = report.problems
    assert f"orapki wallet add -wallet {wallet.parent}" in problem.remedy
    assert wallet.read_bytes() == bytes.fromhex("a1f84e36") + b"\0" * 80


def test_a_root_that_nobody_knows_ends_with_10_after_the_report_was_kept(world: Path, tmp_path: Path) -> None:
    inventory = found(tmp_path / "run")
    cas = {
        g: {ca: facts | ({"thumbprint": "ab" * 20} if ca == CA else {}) for ca, facts in offer.items()}
        for g, offer in inventory.cas.items()
    }
    file = folder.store(world, "reports.pem")
    before = file.read_bytes()
    report = checked(tmp_path / "run", file, "", replace(of_west(inventory), cas=cas), action="apply")
    assert {r.verdict for r in report.rows} == {"unknown-ca"}
    assert "rdsca roots approve" in report.rows[0].reason
    assert file.read_bytes() == before
    run = opened(tmp_path / "run")
    with pytest.raises(UnknownRoot) as ended:
        rdsca.keep(run, report)
    assert ended.value.code == outcome.code(report) == 10
    assert json.loads((tmp_path / "run/trust.json").read_text())["rows"][0]["verdict"] == "unknown-ca"


def test_a_clients_family_and_settings_replace_those_of_the_kind(world: Path, tmp_path: Path) -> None:
    file = folder.store(world, "reports.pem")
    full = {"sslmode": "verify-full", "sslrootcert": str(file)}
    known = [
        {"name": "strict", "driver": "psycopg2", "family": "openssl:seclevel=3", "settings": dict(full)},
        {"name": "usual", "driver": "psycopg2", "settings": dict(full)},
        {"name": "moot", "driver": "pymysql", "settings": {"ssl_ca": str(file)}},
        {"name": "jvm", "driver": "mysql-connector-j", "settings": {"sslMode": "VERIFY_IDENTITY"}},
    ]
    text = yaml.safe_dump({"clients": [one | {"store": str(file)} for one in known]})
    rows = {r.client: r for r in checked(tmp_path / "run", file, text).rows}
    assert {name: r.verdict for name, r in rows.items()} == {
        "strict": "unreadable-by-client",
        "usual": "ready",
        "moot": "not-verifying",
        "jvm": "unreadable-by-client",
    }
    assert rows["strict"].family == "openssl:seclevel=3"
    assert rows["moot"].driver == "pymysql"
    assert "ssl_ca alone verifies nothing" in rows["moot"].reason


def test_a_client_that_does_not_verify_holds_nothing_when_its_store_has_the_root(world: Path, tmp_path: Path) -> None:
    file = folder.store(world, "reports.pem")
    text = f"clients: [{{name: moot, driver: pymysql, settings: {{ssl_disabled: true}}, store: {file}}}]"
    report = checked(tmp_path / "run", file, text)
    assert trusted_in(WEST, CA, report.rows).ok
    lacking = folder.store(world, "shop-warehouse.jks")
    report = checked(tmp_path / "run", lacking, text.replace(str(file), str(lacking)))
    assert trusted_in(WEST, CA, report.rows).ok is False


# --- replay


def replayed(profile: AwsSide, where: Path, path: Path, *, of: slice, ca: str = CA, clients: str = "") -> StoreVerdict:
    """Keep a part of a chain, as 06 does, and give the first row of the store at *path*."""
    served = read_pem(certificate(profile.world.pki, ca).chain_pem)[0]
    opened(where).folder.keep_chain(WEST, "orders-db", served[0].names[0], [c.der for c in served[of]])
    return checked(where, path, clients).rows[0]


def test_a_chain_that_was_served_is_tried_against_the_store_now_and_on_its_last_day(
    profile: AwsSide, world: Path, tmp_path: Path
) -> None:
    row = replayed(profile, tmp_path / "run", folder.store(world, "reports.pem"), of=slice(None))
    assert row.verdict == "ready"
    end = min(c.not_after for c in read_pem((tmp_path / "run/chains/eu-west-1-orders-db.pem").read_text())[0])
    assert f"accepts what eu-west-1-orders-db served, until {end:%Y-%m-%d}" in row.replay


def test_a_store_that_holds_the_root_and_refuses_what_was_served_is_not_ready(
    profile: AwsSide, world: Path, tmp_path: Path
) -> None:
    row = replayed(profile, tmp_path / "run", folder.store(world, "reports.pem"), of=slice(0, 1))
    assert row.verdict == "unknown"
    assert "OpenSSL error 20" in row.reason
    assert not accepts(row)


def test_a_chain_of_another_ca_says_nothing_about_the_target(profile: AwsSide, world: Path, tmp_path: Path) -> None:
    row = replayed(profile, tmp_path / "run", folder.store(world, "reports.pem"), of=slice(None), ca="rds-ca-ecc384-g1")
    assert (row.verdict, row.replay) == ("ready", "no chain seen yet")


# --- what may go


def test_a_retired_root_may_go_only_when_it_has_ended_and_nothing_else_ever_does(tmp_path: Path) -> None:
    text = ca_data("global-bundle-2023-05.pem").read_text()
    old = [c for c in read_pem(text)[0] if "G1" not in c.subject]
    file = tmp_path / "store.pem"
    file.write_text(text + authority("Somebody's Expired Root", begins=-900, ends=-10).read.pem)
    store, known = open_store(str(file)), catalogue.shipped()
    ends = sorted(c.not_after for c in old)
    for at in (ends[0] - timedelta(days=1), ends[len(ends) // 2], ends[-1] + timedelta(days=1)):
        going, staying = retired(store, known, at=at)
        assert {c.sha256 for c in going} == {c.sha256 for c in old if c.not_after < at}
        assert {c.sha256 for c, _ in staying} == {c.sha256 for c in old if c.not_after >= at}
        assert all(f"valid until {c.not_after:%Y-%m-%d}" in why for c, why in staying)
