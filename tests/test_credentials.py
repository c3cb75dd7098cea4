"""Credentials by reference: found where they are named, refused when others can read them, and never told."""

from __future__ import annotations

import json
import os
import traceback
from pathlib import Path
from typing import Any, cast

import pytest
from makers import instance

from rdsca_helpers.edge import credentials
from rdsca_helpers.edge.aws import Aws
from rdsca_helpers.errors import RdscaError, Unreachable, UsageError
from rdsca_helpers.model import Instance

SECRET = "s3cr3t: \\ 'x' #é"
ONE = instance("orders", secret="arn:aws:secretsmanager:eu-west-1:111111111111:secret:orders")


class SecretsManager:
    """What the credentials need of AWS: one secret's text."""

    def __init__(self, text: str) -> None:
        self.text = text

    def secret(self, region: str, arn: str) -> str:
        return self.text


def found(source: str, *, db_user: str = "", one: Instance = ONE, secret: str = "{}") -> tuple[str, str]:
    user, password = credentials.find(cast(Aws, SecretsManager(secret)), one, credentials=source, db_user=db_user)
    return user, password.reveal()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("PGPASSFILE", raising=False)
    return tmp_path


def put(file: Path, text: str | bytes, mode: int = 0o600) -> Path:
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    file.chmod(mode)
    return file


def test_a_variable_gives_the_password_and_the_parameter_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORDERS_PW", SECRET)
    assert found("env:ORDERS_PW", db_user="rdsca_ro") == ("rdsca_ro", SECRET)


def test_a_variable_that_is_not_set_or_empty_is_a_wrong_parameter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMPTY_PW", "")
    for name in ("NOT_SET_PW", "EMPTY_PW"):
        with pytest.raises(UsageError, match=name):
            found(f"env:{name}", db_user="x")


def test_a_variable_without_a_user_is_a_wrong_parameter_that_keeps_the_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORDERS_PW", SECRET)
    with pytest.raises(UsageError, match="db_user") as refused:
        found("env:ORDERS_PW")
    assert "s3cr3t" not in str(refused.value)


HOST = ONE.endpoint


@pytest.mark.parametrize(
    ("line", "db_user", "expected"),
    [
        (f"{HOST}:5432:postgres:app:pw", "", ("app", "pw")),
        (f"{HOST}:5432:postgres:app:pw", "app", ("app", "pw")),
        ("*:*:*:*:pw", "app", ("app", "pw")),
        (f"{HOST}:*:*:app:p\\:w\\\\", "", ("app", "p:w\\")),
        (f"{HOST}:*:*:do\\\\main\\\\:pw", "", ("do\\main\\", "pw")),
        (f"{HOST}:*:*:app:né ' \" #", "", ("app", "né ' \" #")),
        (f"# comment\n\nother:5432:*:app:no\n{HOST}:5433:*:app:no\n{HOST}:5432:*:app:yes", "app", ("app", "yes")),
        (f"{HOST}:5432:*:app:first\n*:*:*:app:second", "app", ("app", "first")),
        (f"{HOST}:5432:*:one:1\n{HOST}:5432:*:two:2", "two", ("two", "2")),
        (f"broken line\n:::\n{HOST}:5432:*:app:pw\r", "", ("app", "pw")),
    ],
)
def test_pgpass_is_read_as_libpq_reads_it(home: Path, line: str, db_user: str, expected: tuple[str, str]) -> None:
    put(home / ".pgpass", line + "\n")
    assert found("pgpass", db_user=db_user) == expected


def test_another_pgpass_file_is_taken_from_the_variable(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPASSFILE", str(put(home / "mine", "*:*:*:app:pw\n")))
    assert found("pgpass", db_user="app") == ("app", "pw")


@pytest.mark.parametrize(("line", "db_user"), [("*:*:*:*:pw", ""), (f"{HOST}:5432:*:app:pw", "other"), ("", "app")])
def test_no_line_for_the_instance_makes_it_out_of_reach(home: Path, line: str, db_user: str) -> None:
    put(home / ".pgpass", line)
    with pytest.raises(Unreachable, match=HOST):
        found("pgpass", db_user=db_user)


@pytest.mark.parametrize(
    ("text", "db_user", "expected"),
    [
        ("[client]\nuser=app\npassword=pw\n", "", ("app", "pw")),
        ("[client]\nuser=app\npassword=pw\n", "other", ("other", "pw")),
        (
            "[mysqld]\npassword=no\n[client]\n# password=no\n; password=no\nuser = app \npassword = pw \n",
            "",
            ("app", "pw"),
        ),
        ("[client]\nuser='app'\npassword=\"p#w = 1\"\n[mysql]\npassword=no\n", "", ("app", "p#w = 1")),
        ("[client]\r\nuser=app\r\npassword=pw\r\n", "", ("app", "pw")),
        ("[client]\nuser=app\npassword=pw # the old one\n", "", ("app", "pw")),
        ("[client]\nuser=app\npassword=it's\n", "", ("app", "it's")),
    ],
)
def test_my_cnf_is_read_as_the_mysql_client_reads_it(
    home: Path, text: str, db_user: str, expected: tuple[str, str]
) -> None:
    put(home / ".my.cnf", text)
    assert found("mycnf", db_user=db_user) == expected


@pytest.mark.parametrize(
    "text", ["", "[client]\nuser=app\n", "[client]\npassword=s3cr3t\n", "[mysql]\npassword=s3cr3t\n"]
)
def test_my_cnf_without_user_and_password_is_a_wrong_parameter(home: Path, text: str) -> None:
    put(home / ".my.cnf", text)
    with pytest.raises(UsageError, match=r"\.my\.cnf") as refused:
        found("mycnf")
    assert "s3cr3t" not in str(refused.value)


@pytest.mark.parametrize("source", ["pgpass", "mycnf"])
@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o620, 0o666])
def test_a_password_file_that_others_may_read_or_write_is_refused_unread(home: Path, source: str, mode: int) -> None:
    text = "*:*:*:app:s3cr3t" if source == "pgpass" else "[client]\nuser=app\npassword=s3cr3t\n"
    put(home / {"pgpass": ".pgpass", "mycnf": ".my.cnf"}[source], text, mode)
    with pytest.raises(UsageError, match="chmod 600") as refused:
        found(source, db_user="app")
    assert "s3cr3t" not in "".join(traceback.format_exception(refused.value))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_password_file_of_another_user_is_refused(home: Path) -> None:
    os.chown(put(home / ".pgpass", "*:*:*:app:s3cr3t"), 12345, 12345)
    with pytest.raises(UsageError, match=r"\.pgpass"):
        found("pgpass", db_user="app")


@pytest.mark.parametrize("source", ["pgpass", "mycnf"])
def test_a_password_file_that_is_missing_a_folder_or_no_text_is_named(home: Path, source: str) -> None:
    file = home / {"pgpass": ".pgpass", "mycnf": ".my.cnf"}[source]
    with pytest.raises(UsageError, match="cannot be read"):
        found(source, db_user="app")
    put(file, b"\xff\xfe s3cr3t \xff")
    with pytest.raises(UsageError, match="cannot be read") as refused:
        found(source, db_user="app")
    assert "s3cr3t" not in "".join(traceback.format_exception(refused.value))
    file.unlink()
    file.mkdir(0o700)
    with pytest.raises(UsageError, match="cannot be read"):
        found(source, db_user="app")


@pytest.mark.parametrize(
    ("text", "db_user", "expected"),
    [
        (json.dumps({"username": "admin", "password": SECRET}), "", ("admin", SECRET)),
        (json.dumps({"username": "admin", "password": SECRET}), "other", ("other", SECRET)),
    ],
)
def test_the_secret_of_the_instance_gives_user_and_password(text: str, db_user: str, expected: Any) -> None:
    for source in ("secret", "auto"):
        assert found(source, db_user=db_user, secret=text) == expected


@pytest.mark.parametrize(
    "text", ["s3cr3t", '"s3cr3t"', '["s3cr3t"]', "{}", '{"password": "s3cr3t"}', '{"username": "a", "password": null}']
)
def test_a_secret_of_another_shape_is_not_told(text: str) -> None:
    with pytest.raises(Unreachable, match="does not hold username and password") as refused:
        found("secret", secret=text)
    assert "s3cr3t" not in "".join(traceback.format_exception(refused.value))


@pytest.mark.parametrize("source", ["none", "auto", "secret"])
def test_an_instance_without_a_secret_is_out_of_reach_with_the_remedy(source: str) -> None:
    with pytest.raises(Unreachable, match="set credentials to"):
        found(source, one=instance(secret=""))


def test_auto_takes_a_token_only_where_the_instance_takes_tokens_and_a_user_is_named() -> None:
    for one, user in ((instance(iam=False), "app"), (instance(iam=True), "")):
        with pytest.raises(RdscaError, match="no credentials are known"):
            found("auto", one=one, db_user=user)
