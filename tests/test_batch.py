"""Walks: exit codes and messages, files that are wrong, signals, and what is left behind."""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import subprocess
import sys
import urllib.parse
from collections.abc import Callable
from pathlib import Path

import boto3
import nbformat
import pytest
from conftest import AwsSide, RunningLab, Walk, rdsca, typed
from test_rotation import eventually, planned, sent

from rdsca_helpers import batch
from rdsca_helpers.errors import UsageError
from rdsca_helpers.lab.seed import BILLING, SHOP, WEST


def record(folder: Path) -> dict[str, object]:
    found: dict[str, object] = json.loads((folder / "run.json").read_text())
    return found


# --- refused before any kernel starts


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["-p", "aply", "True"], "unknown parameter aply; known are"),
        (["-p", "password", "hunter2"], "password looks like a secret"),
        (["-p", "action", "True"], "parameter action takes 'show' or 'apply', not 'True'"),
        (["-p", "max_targets", "-1"], "parameter max_targets takes a whole number from 1"),
        (["-p", "run_dir", "elsewhere"], "use --account and --run-dir"),
        (["--regions", "eu-west-1,Frankfurt"], "'Frankfurt' is none"),
        (["--regions", ""], "parameter regions"),
        (["--regions", "eu-west-1", "-p", "regions", "all"], "regions is given twice"),
        (["--from", "05", "--to", "02"], "--from 05 comes after --to 02"),
        (["--from", "42"], "no notebook '42'"),
        (["--account", "12345"], "parameter account takes an AWS account id of 12 digits"),
    ],
)
def test_a_wrong_word_is_exit_2_with_a_message_and_nothing_is_written(
    tmp_path: Path, words: list[str], message: str
) -> None:
    said = typed("run", "--account", SHOP, "--run-dir", str(tmp_path / "runs"), *words)
    assert said.code == 2
    assert message in said.err
    assert said.err.startswith("rdsca: ")
    assert said.err.count("\n") == 1
    assert said.out == ""
    assert not (tmp_path / "runs").exists()
    assert "hunter2" not in said.err


def test_an_account_without_its_leading_zeros_is_filled_up(tmp_path: Path) -> None:
    one = batch.job("012345678901", base=tmp_path, first="01", last="01", values={})
    assert one.account == "012345678901"
    assert one.folder == tmp_path / "012345678901"


# --- the accounts file


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("accounts: [", "is no YAML"),
        ("\xff\xfe", "has no list of accounts"),
        ("[]", "has no list of accounts"),
        ("accounts: []", "has no list of accounts"),
        ("accounts: [111111111111]", "entry 1 of .* has no account_id"),
        ("accounts: [{name: shop}]", "entry 1 of .* has no account_id"),
        ("accounts: [{account_id: shop}]", "entry 1 of .*: account_id takes an AWS account id"),
        ("accounts: [{account_id: true}]", "account_id takes an AWS account id"),
        ("accounts: [{account_id: '1'}]", "account_id takes an AWS account id"),
        ("accounts: [{account_id: '111111111111', regions: eu-west-1}]", "regions takes a list"),
        ("accounts: [{account_id: '111111111111', regions: [[a]]}]", "regions takes a list of names"),
        ("accounts: [{account_id: '111111111111', vars: [a]}]", "vars takes a dict"),
        ("accounts: [{account_id: '111111111111', role: [a]}]", "role takes a str"),
        ("accounts: [{account_id: '111111111111', regoins: [eu-west-1]}]", "unknown keys: regoins"),
        ("accounts: [{account_id: '111111111111'}, {account_id: 111111111111}]", "entry 2 .*stands in the file twice"),
    ],
)
def test_a_wrong_accounts_file_is_named_with_the_entry(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "accounts.yml"
    file.write_text(text)
    with pytest.raises(UsageError, match=message):
        batch.accounts(str(file))


@pytest.mark.parametrize("name", ["account", "run_dir"])
def test_vars_cannot_say_which_account_or_folder_it_is(tmp_path: Path, name: str) -> None:
    entries = [{"account_id": SHOP, "vars": {name: "222222222222"}}]
    with pytest.raises(UsageError, match="account and run_dir are no vars"):
        batch.fleet_jobs(entries, base=tmp_path, first="01", last="01", values={})


def test_an_accounts_file_that_cannot_be_read_is_exit_2(tmp_path: Path) -> None:
    done = typed("fleet", str(tmp_path / "none.yml"), "--run-dir", str(tmp_path / "runs"))
    assert done.code == 2
    assert "cannot be read (No such file or directory)" in done.err
    assert not (tmp_path / "runs").exists()


def test_an_account_id_that_looks_like_an_octal_number_is_not_taken_for_another_account(tmp_path: Path) -> None:
    file = tmp_path / "accounts.yml"
    file.write_text("accounts: [{account_id: 011111111111}]")
    assert [entry["account_id"] for entry in batch.accounts(str(file))] == ["011111111111"]


def test_what_an_accounts_vars_say_goes_before_what_is_said_for_all(tmp_path: Path) -> None:
    entries = [
        {"account_id": SHOP, "regions": ["eu-west-1", "us-west-2"], "vars": {"target_ca": "rds-ca-ecc384-g1"}},
        {"account_id": BILLING, "role": "rdsca"},
    ]
    values = {"target_ca": "rds-ca-rsa4096-g1", "role": "other"}
    shop, billing = batch.fleet_jobs(entries, base=tmp_path, first="01", last="07", values=values)
    assert (shop.values["target_ca"], shop.values["regions"], shop.values["role"]) == (
        "rds-ca-ecc384-g1",
        "eu-west-1,us-west-2",
        "other",
    )
    assert (billing.values["target_ca"], billing.values["role"]) == ("rds-ca-rsa4096-g1", "rdsca")
    with pytest.raises(UsageError, match="unknown parameter tarjet"):
        batch.fleet_jobs(
            [{"account_id": SHOP, "vars": {"tarjet": "x"}}], base=tmp_path, first="01", last="07", values={}
        )


# --- a world that is wrong


def test_a_missing_report_of_the_notebook_before_is_exit_3_and_named(profile: AwsSide, tmp_path: Path) -> None:
    done = rdsca("run", "--account", SHOP, "--run-dir", str(tmp_path), "--from", "04", "--to", "04")
    assert done.code == 3
    assert "inventory.json is missing; run 01-discover with the same run_dir first" in done.out
    assert sorted(p.name for p in (tmp_path / SHOP).iterdir()) == ["04-plan.ipynb", "run.json"]
    assert record(tmp_path / SHOP)["code"] == 3


def test_credentials_of_another_account_are_exit_3_and_no_report_is_written(profile: AwsSide, tmp_path: Path) -> None:
    done = rdsca("run", "--account", BILLING, "--run-dir", str(tmp_path), "--to", "01")
    assert done.code == 3
    assert f"the credentials are of account {SHOP}, not {BILLING}" in done.out
    assert sorted(p.name for p in (tmp_path / BILLING).iterdir()) == ["01-discover.ipynb", "run.json"]
    assert profile.get("calls")["mutating"] == 0


def test_a_damaged_report_is_exit_9_and_a_file_that_is_not_there_exit_2(walked: Walk, tmp_path: Path) -> None:
    folder = tmp_path / SHOP
    folder.mkdir()
    shutil.copy(walked.folder / "inventory.json", folder)
    words = ["run", "--account", SHOP, "--run-dir", str(tmp_path), "--from", "02", "--to", "02"]
    absent = rdsca(*words, "-p", "reach", str(tmp_path / "none.yml"))
    assert absent.code == 2
    assert "none.yml cannot be read (No such file or directory)" in absent.out
    whole = (folder / "inventory.json").read_bytes()
    (folder / "inventory.json").write_bytes(whole[:-100])
    damaged = rdsca(*words)
    assert damaged.code == 9
    assert "inventory.json is damaged" in damaged.out
    assert not (folder / "sessions.json").exists()


def test_what_was_changed_and_could_not_be_verified_is_exit_5(walked: Walk, tmp_path: Path) -> None:
    shutil.copytree(walked.folder, tmp_path / "runs" / SHOP)
    (tmp_path / "runs" / SHOP / "proof.json").unlink()
    words = ["--account", SHOP, "--profile", "lab", "--regions", "eu-west-1", "--run-dir", str(tmp_path / "runs")]
    changing = ["--from", "05", "-p", "action", "apply", "-p", "wave", "all", "-p", "bundle", str(tmp_path / "no.pem")]
    ended = rdsca("run", *words, *changing)
    assert ended.code == 5, ended.out
    assert "changed, not verified" in ended.out


def test_one_accounts_trouble_stays_its_own_and_the_fleet_has_the_worst_code(profile: AwsSide, tmp_path: Path) -> None:
    file = tmp_path / "accounts.yml"
    file.write_text(
        f"accounts: [{{account_id: '{SHOP}', name: shop}}, {{account_id: '{BILLING}', name: billing, role: ''}}]"
    )
    done = rdsca("fleet", str(file), "--run-dir", str(tmp_path / "runs"), "--to", "01", "--profile", "lab")
    assert done.code == 3
    assert (tmp_path / "runs" / SHOP / "inventory.json").exists()
    page = (tmp_path / "runs/index.html").read_text()
    assert SHOP in page
    assert BILLING in page
    assert "refused" in page
    assert record(tmp_path / "runs" / SHOP)["code"] == 0


# --- signals


def children(pid: int) -> list[int]:
    """Give the kernels that process *pid* has started."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
            words = (stat.parent / "cmdline").read_text()
        except (OSError, ValueError):
            continue
        if parent == pid and "ipykernel" in words:
            found.append(int(stat.parent.name))
    return found


def interrupted(
    base: Path, moment: Callable[[], object], word: signal.Signals, *words: str, kernel: bool = False
) -> tuple[int, str]:
    """Run `rdsca run`, send it (or its *kernel*) a signal at a *moment*; no kernel may outlive it."""
    command = [sys.executable, "-m", "rdsca_helpers", "run", "--account", SHOP, "--run-dir", str(base), *words]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        eventually(moment, 60)
        kernels = children(child.pid)
        assert len(kernels) == 1
        os.kill(kernels[0] if kernel else child.pid, word)
        out, _ = child.communicate(timeout=60)
        assert not [pid for pid in kernels if Path(f"/proc/{pid}").exists()]
    finally:
        child.kill()
    return child.returncode, out


@pytest.mark.parametrize("word", [signal.SIGINT, signal.SIGTERM])
def test_a_walk_that_is_interrupted_writes_down_how_far_it_came(
    profile: AwsSide, tmp_path: Path, word: signal.Signals
) -> None:
    profile.post("fault", kind="delay", action="DescribeDBInstances", delay=25)
    reading = lambda: "DescribeDBInstances" in [c.action for c in profile.world_calls()]  # noqa: E731
    code, out = interrupted(tmp_path, reading, word, "--to", "03")
    assert code == 4
    assert "interrupted" in out
    written = record(tmp_path / SHOP)
    assert written["code"] == 4
    (line,) = written["notebooks"]  # type: ignore[misc]
    assert line["error"] == "KeyboardInterrupt"
    assert sorted(p.name for p in (tmp_path / SHOP).iterdir()) == ["01-discover.ipynb", "run.json"]
    cells = [c for c in nbformat.read(tmp_path / SHOP / "01-discover.ipynb", 4).cells if c.cell_type == "code"]
    states = [c.metadata.papermill["status"] for c in cells]
    assert states.count("failed") == 1
    assert set(states[states.index("failed") + 1 :]) == {"not_run"}


@pytest.mark.parametrize(("word", "kernel"), [(signal.SIGTERM, False), (signal.SIGKILL, True)])
def test_an_interrupt_or_a_dead_kernel_while_a_change_is_under_way_is_exit_6(
    profile: AwsSide, tmp_path: Path, word: signal.Signals, *, kernel: bool
) -> None:
    profile.world.settings.modify = 600
    planned(tmp_path / SHOP, "orders-db")
    journal = tmp_path / SHOP / "journal.jsonl"
    waiting = lambda: journal.exists() and '"sent"' in journal.read_text()  # noqa: E731
    words = ["--from", "05", "--to", "05", "-p", "action", "apply"]
    code, _ = interrupted(tmp_path, waiting, word, *words, kernel=kernel)
    assert code == 6
    assert record(tmp_path / SHOP)["code"] == 6
    assert len(sent(profile)) == 1


# --- secrets


def disguises(secret: str) -> set[bytes]:
    """Give *secret* as it may turn up in a file."""
    raw = secret.encode()
    return {
        raw,
        base64.b64encode(raw).rstrip(b"="),
        urllib.parse.quote(secret).encode(),
        json.dumps(secret)[1:-1].encode(),
    }


def leaks(secret: str, folder: Path, *texts: str) -> list[str]:
    """Name the files below *folder* that hold *secret*, or "text" for the *texts*."""
    words = disguises(secret)
    found = [str(p) for p in folder.rglob("*") if p.is_file() and any(w in p.read_bytes() for w in words)]
    return found + ["text" for t in texts if any(w in t.encode() for w in words)]


def test_the_passwords_that_a_walk_has_used_stand_nowhere(walked: Walk, lab: RunningLab) -> None:
    rds, secrets = (
        boto3.client(s, region_name=WEST, endpoint_url=lab.url, aws_access_key_id=SHOP, aws_secret_access_key="x")
        for s in ("rds", "secretsmanager")
    )
    (orders,) = rds.describe_db_instances(DBInstanceIdentifier="orders-db")["DBInstances"]
    text = secrets.get_secret_value(SecretId=orders["MasterUserSecret"]["SecretArn"])["SecretString"]
    password = json.loads(text)["password"]
    said = [s.out + s.err for s in walked.steps.values()]
    assert (walked.folder / "sessions.json").read_text().count('"confidence": "full"') > 0
    assert leaks(password, walked.base, *said) == []
    assert leaks("eu-west-1", walked.base) != []  # the search finds what is there


def test_a_password_that_databases_refuse_or_drivers_cannot_send_stands_nowhere(walked: Walk, tmp_path: Path) -> None:
    secret = "CANARY-p%41ss/w@rd:=&' 日本"  # PyMySQL cannot encode it, PostgreSQL refuses it
    folder = tmp_path / SHOP
    folder.mkdir()
    shutil.copy(walked.folder / "inventory.json", folder)
    words = ["run", "--account", SHOP, "--run-dir", str(tmp_path), "--from", "02", "--to", "02"]
    done = rdsca(*words, "-p", "credentials", "env:CANARY", "-p", "db_user", "rdsca_ro", CANARY=secret)
    assert done.code == 4
    assert "could not be" in (folder / "sessions.json").read_text()
    assert leaks(secret, tmp_path, done.out, done.err) == []
    assert leaks("CANARY-p", tmp_path, done.out, done.err) == []
