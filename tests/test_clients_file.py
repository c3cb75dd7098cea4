"""The clients file: read strictly, without a secret kept or shown."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from rdsca_helpers.clients_file import ClientEntry, read
from rdsca_helpers.errors import UsageError

SECRET = "Tr0ub4dor"


def one(**facts: Any) -> ClientEntry:
    (entry,) = read(yaml.safe_dump({"clients": [{"name": "shop", "driver": "psycopg2", **facts}]}))
    return entry


def test_an_entry_gives_name_driver_family_store_and_settings() -> None:
    text = """
    clients:
      - name: shop
        driver: psycopg2
        settings: {sslmode: verify-full, sslrootcert: /etc/shop/rds.pem}
        store: /etc/shop/rds.pem
        host: orders.abc.eu-west-1.rds.amazonaws.com
        instance: orders
      - {name: reports, driver: pgjdbc, family: "java:no-ec", tags: {team: bi}}
    """
    shop, reports = read(text)
    assert (shop.name, shop.driver, shop.family, shop.store) == ("shop", "psycopg2", "openssl", "/etc/shop/rds.pem")
    assert shop.instance == "orders"
    assert shop.host.startswith("orders.")
    assert shop.verifies[0] == "full"
    assert (reports.family, dict(reports.tags), reports.formats) == ("java:no-ec", {"team": "bi"}, ("pem",))


@pytest.mark.parametrize(
    ("driver", "url", "host", "verifies"),
    [
        (
            "psycopg2",
            "postgresql://app@db.example.org:5432/shop?sslmode=verify-full&sslrootcert=/x",
            "db.example.org",
            "full",
        ),
        ("psycopg2", "postgres://db.example.org/shop?sslmode=prefer", "db.example.org", "encrypt"),
        ("pgjdbc", "jdbc:postgresql://db.example.org:5432/shop?ssl=true", "db.example.org", "full"),
        ("mysql-connector-j", "jdbc:mysql://db.example.org/shop?sslMode=VERIFY_CA", "db.example.org", "ca"),
        (
            "mssql-jdbc",
            "jdbc:sqlserver://db.example.org:1433;encrypt=true;trustServerCertificate=true",
            "db.example.org",
            "encrypt",
        ),
        ("oracle-jdbc", "jdbc:oracle:thin:@tcps://db.example.org:2484/ORCL", "db.example.org", "ca"),
        ("pymongo", "mongodb://a.example.org:27017,b.example.org/?tls=true", "a.example.org", "full"),
        ("pymongo", "mongodb+srv://a.example.org/", "a.example.org", "full"),
        ("node-postgres", "postgres://db.example.org/shop?sslmode=no%2Dverify", "db.example.org", "encrypt"),
    ],
)
def test_host_and_settings_are_taken_out_of_a_url(driver: str, url: str, host: str, verifies: str) -> None:
    entry = one(driver=driver, url=url)
    assert entry.host == host
    assert entry.verifies[0] == verifies


def test_what_settings_say_counts_over_the_url_and_host_over_the_urls() -> None:
    entry = one(url="postgres://a/b?sslmode=disable", settings={"sslmode": "verify-ca"}, host="c")
    assert (entry.host, entry.verifies[0]) == ("c", "ca")


def test_the_store_in_the_home_folder_is_the_one_that_libpq_reads_without_being_told() -> None:
    settings = {"sslmode": "require"}
    assert one(settings=settings, store="/home/app/.postgresql/root.crt").verifies[0] == "ca"
    assert one(settings=settings, store="/etc/other.pem").verifies[0] == "unknown"


@pytest.mark.parametrize(
    "facts",
    [
        {"password": SECRET},
        {"settings": {"password": SECRET}},
        {"settings": {"ssl": {"sslpassword": SECRET}}},
        {"settings": {"trustStorePassword": SECRET}},
        {"settings": {"javax.net.ssl.trustStorePassword": SECRET}},
        {"settings": {"PWD": SECRET}},
        {"settings": {"auth": [{"client_secret": SECRET}]}},
        {"settings": {"dsn": f"postgres://app:{SECRET}@db/shop"}},
        {"settings": {"dsn": f"host=db password={SECRET}"}},
        {"settings": {"key": f"-----BEGIN PRIVATE KEY-----\n{SECRET}"}},
        {"settings": {"token": SECRET}},
        {"url": f"postgres://app:{SECRET}@db.example.org/shop"},
        {"url": f"postgres://app:{SECRET}%40x@db.example.org/shop"},
        {"url": f"postgres://db.example.org/shop?user=app&password={SECRET}"},
        {"url": f"postgres://db.example.org/shop?pass%77ord={SECRET}"},
        {"url": f"jdbc:sqlserver://db.example.org;user=app;password={SECRET};encrypt=true"},
        {"url": f"jdbc:sqlserver://db.example.org;trustStorePassword={SECRET}"},
        {"tags": {"api_key": SECRET}},
        {"api_key": SECRET},
    ],
    ids=lambda facts: next(iter(facts)),
)
def test_what_looks_like_a_secret_is_refused_and_never_shown(facts: dict[str, Any]) -> None:
    with pytest.raises(UsageError) as refusal:
        one(**facts)
    assert "client shop" in str(refusal.value)
    assert "looks like a secret" in str(refusal.value)
    seen = refusal.value
    assert SECRET not in f"{seen} {seen.args} {seen.__cause__} {seen.remedy}"


@pytest.mark.parametrize(
    "facts", [{"settings": {"passfile": "/home/app/.pgpass"}}, {"settings": {"user": "app", "sslkey": "/k.pem"}}]
)
def test_a_file_that_holds_a_secret_may_be_named(facts: dict[str, Any]) -> None:
    assert one(**facts).settings == facts["settings"]


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"drivr": "x"}, "unknown key drivr; known are name, driver, family, settings, url"),
        ({"driver": "odbc"}, "there is no driver 'odbc' here; known are psycopg2, psycopg"),
        ({"driver": ""}, "driver is missing"),
        ({"name": ""}, "client 1: name is missing"),
        ({"name": 7}, "client 1: name is missing or no text"),
        ({"family": "oracle"}, "there is no client family 'oracle'; known are openssl"),
        ({"family": "java:seclevel=3"}, "has no limit"),
        ({"store": ["a"]}, "store takes text"),
        ({"settings": "sslmode=require"}, "settings takes a mapping"),
        ({"tags": ["a"]}, "tags takes a mapping"),
        ({"instance": "a", "tags": {"b": "c"}}, "instance or tags"),
        ({"url": "db.example.org"}, "no scheme://host"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_wrong_entry_is_refused_with_its_name_the_key_and_what_is_known(facts: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError) as refusal:
        one(**facts)
    assert said in str(refusal.value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "clients: 5",
        "clients: [5]",
        "clients: []\nmore: 1",
        "client: []",
        "clients: [{name: a}",
        "clients: &a [*a]",
        "clients: [2026-99-99]",
        "[" * 5000,
    ],
)
def test_a_file_of_another_form_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        read(text)


def test_a_yaml_error_names_the_line_and_repeats_nothing_of_it() -> None:
    with pytest.raises(UsageError, match="line 4") as refusal:
        read(f"clients:\n - name: a\n   password: [{SECRET}\n")
    assert SECRET not in str(refusal.value)


def test_no_yaml_tag_makes_an_object() -> None:
    with pytest.raises(UsageError):
        read("clients: !!python/object/apply:os.system ['true']")


def test_two_clients_of_one_name_are_refused() -> None:
    with pytest.raises(UsageError, match="two clients called a"):
        read("clients: [{name: a, driver: psql}, {name: a, driver: curl}]")


@pytest.mark.parametrize(
    ("facts", "verdict", "settled"),
    [
        ({"driver": "pymysql", "settings": {"ssl_ca": "/x"}}, "ready", "not-verifying"),
        ({"driver": "pymysql", "settings": {"ssl_disabled": True}}, "old-only", "not-verifying"),
        ({"driver": "pymysql", "settings": {"ssl": {"ca": "/x"}}}, "old-only", "old-only"),
        ({"driver": "pymysql", "settings": {"ssl_ca": "/x", "ssl_verify_cert": True}}, "ready", "ready"),
        ({"driver": "psql", "settings": {"sslmode": "require"}}, "old-only", "old-only"),
        ({"driver": "pymysql", "settings": {"ssl_ca": "/x"}}, "unknown-ca", "unknown-ca"),
    ],
)
def test_a_store_of_a_client_that_does_not_verify_is_moot_and_the_reason_says_why(
    facts: dict[str, Any], verdict: str, settled: str
) -> None:
    entry = one(**facts)
    found, reason = entry.settle(verdict, "it holds this and that")
    assert found == settled
    assert "it holds this and that" in reason
    if entry.verifies[0] != "full" and verdict != "unknown-ca":
        assert entry.verifies[1] in reason


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=80))
def test_any_text_is_read_or_refused(text: str) -> None:
    for whole in (text, f"clients: [{text}]", f"clients:\n - name: a\n   driver: psql\n   url: {text}"):
        with contextlib.suppress(UsageError):
            assert isinstance(read(whole), tuple)


STORE = "/etc/app/rds.pem"
FULL = {"sslmode": "verify-full"}


@pytest.mark.parametrize(
    ("driver", "settings"),
    [
        ("psycopg2", FULL | {"sslrootcert": "system"}),
        ("psycopg2", FULL | {"sslrootcert": "/tmp/other.pem"}),
        ("psycopg2", FULL),
        ("pgjdbc", FULL),
        ("mysql2", {"ssl": "Amazon RDS"}),
        ("mysql2", {"ssl": {"verifyIdentity": True}}),
        ("node-postgres", {"ssl": True}),
        ("node-postgres", {"sslmode": "verify-full", "ssl": {"ca": STORE}}),
        ("pymysql", {"ssl": {"ca": "/tmp/other.pem"}}),
        ("mysql", {"ssl-mode": "VERIFY_IDENTITY"}),
        ("pymongo", {"tls": True}),
        ("mysql-connector-j", {"sslMode": "VERIFY_IDENTITY", "trustCertificateKeyStoreUrl": "file:/tmp/other.jks"}),
        ("oracle-jdbc", {"protocol": "tcps", "javax.net.ssl.trustStore": "/tmp/other.jks"}),
    ],
)
def test_a_client_whose_settings_pass_its_store_by_is_unknown_and_told_why(
    driver: str, settings: dict[str, Any]
) -> None:
    for verdict in ("ready", "old-only"):
        found, reason = one(driver=driver, settings=settings, store=STORE).settle(verdict, "it holds this")
        assert found == "unknown"
        assert "this store" in reason
        assert "it holds this" in reason


@pytest.mark.parametrize(
    ("driver", "settings", "store"),
    [
        ("psycopg2", FULL | {"sslrootcert": "/etc/app/./rds.pem"}, STORE),
        ("psycopg2", FULL, "/home/app/.postgresql/root.crt"),
        ("psycopg2", FULL | {"sslrootcert": "/mounted/ca.crt"}, "deploy/rds-ca.yaml"),
        ("mysql2", {"ssl": {"ca": [STORE], "verifyIdentity": True}}, STORE),
        ("node-postgres", {"ssl": {"ca": STORE}}, STORE),
        ("mysql", {"ssl-mode": "VERIFY_IDENTITY", "ssl-ca": STORE}, STORE),
        ("mysql-connector-j", {"sslMode": "VERIFY_IDENTITY"}, "/opt/a.jks"),
        (
            "mysql-connector-j",
            {"sslMode": "VERIFY_IDENTITY", "trustCertificateKeyStoreUrl": "file:///opt/a.jks"},
            "/opt/a.jks",
        ),
        ("mssql-odbc", {"encrypt": "yes"}, STORE),
    ],
)
def test_a_client_whose_settings_name_its_store_keeps_the_verdict(
    driver: str, settings: dict[str, Any], store: str
) -> None:
    assert one(driver=driver, settings=settings, store=store).settle("ready", "it holds this")[0] == "ready"
