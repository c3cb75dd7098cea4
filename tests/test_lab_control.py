"""Labs as processes: start, stop, side by side, killed; and certificates that really change."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import RunningLab, boto, start_lab
from keystores import keytool

from rdsca_helpers.clients_file import read as read_clients
from rdsca_helpers.edge.stores.opening import open_store
from rdsca_helpers.errors import Stopped
from rdsca_helpers.lab import control, processes
from rdsca_helpers.lab.applications import APPLICATIONS
from rdsca_helpers.lab.folder import read_state
from rdsca_helpers.lab.seed import BILLING, LEGACY, SHOP, WEST
from rdsca_helpers.lab.servers import find
from rdsca_helpers.lab.versions import ECC384, RSA4096


@pytest.fixture(scope="module")
def mine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningLab]:
    """A lab for this module alone: its certificates and its clock are changed here."""
    where = tmp_path_factory.mktemp("mine")
    yield start_lab(where)
    control.stop(where)


def rds(lab: RunningLab, account: str = SHOP, region: str = WEST) -> Any:
    return boto().client(
        "rds", region_name=region, endpoint_url=lab.url, aws_access_key_id=account, aws_secret_access_key="worthless"
    )


def route(lab: RunningLab, name: str) -> tuple[str, int, str]:
    """Give host, port and RDS name of an instance's endpoint, as the reach file leads there."""
    routes: dict[str, str] = yaml.safe_load((lab.folder / "reach.yml").read_text())["endpoints"]
    (address, target) = next((k, v) for k, v in routes.items() if k.startswith(f"{name}."))
    host, _, port = target.partition(":")
    return host, int(port), address.rpartition(":")[0]


def shown(lab: RunningLab, name: str, protocol: str) -> str:
    """Say what openssl sees on the wire: the issuer of the server certificate."""
    host, port, address = route(lab, name)
    command = ["openssl", "s_client", "-connect", f"{host}:{port}", "-starttls", protocol, "-servername", address]
    seen = subprocess.run(command, input="", capture_output=True, text=True, check=False, timeout=20).stdout
    found = re.search(r"^issuer=(.*)$", seen, re.M)
    assert found, seen
    return found.group(1)


def published(lab: RunningLab, name: str) -> str:
    """Download a CA bundle from the lab."""
    with urllib.request.urlopen(f"{lab.url}/_lab/truststore/{name}/{name}-bundle.pem", timeout=20) as answer:
        return str(answer.read().decode())


def trusted(lab: RunningLab, name: str, protocol: str) -> bool:
    """Say whether openssl trusts the wire with the lab's published bundle, the endpoint's name included."""
    host, port, address = route(lab, name)
    bundle = lab.folder / "bundle.pem"
    bundle.write_text(published(lab, "global"))
    judge = ["openssl", "s_client", "-connect", f"{host}:{port}", "-starttls", protocol]
    judge += ["-CAfile", str(bundle), "-verify_hostname", address, "-verify_return_error"]
    return subprocess.run(judge, input="", capture_output=True, text=True, check=False, timeout=20).returncode == 0


def rotate(lab: RunningLab, name: str, account: str, ca: str = RSA4096) -> None:
    client = rds(lab, account)
    client.modify_db_instance(DBInstanceIdentifier=name, CACertificateIdentifier=ca, ApplyImmediately=True)
    for _ in range(300):
        (row,) = client.describe_db_instances(DBInstanceIdentifier=name)["DBInstances"]
        if row["DBInstanceStatus"] == "available" and not row["PendingModifiedValues"]:
            assert row["CertificateDetails"]["CAIdentifier"] == ca
            return
        time.sleep(0.1)
    raise AssertionError(f"{name} did not come back")


REAL = [
    ("orders-db", SHOP, "postgres", "postgres"),
    ("ledger-1", BILLING, "postgres", "postgres"),
    ("catalog-db", SHOP, "mysql", "mysql"),
    ("payments-db", BILLING, "mysql", "mariadb"),
    ("crm-db", LEGACY, "mysql", "mariadb"),
]


@pytest.mark.parametrize(("name", "account", "protocol", "kind"), REAL)
def test_a_rotation_changes_what_the_server_shows(
    mine: RunningLab, name: str, account: str, protocol: str, kind: str
) -> None:
    if find(kind) is None:
        pytest.skip(f"no {kind} server on this machine")
    assert "RSA2048" in shown(mine, name, protocol)
    assert trusted(mine, name, protocol)
    rotate(mine, name, account)
    assert "RSA4096" in shown(mine, name, protocol)
    assert trusted(mine, name, protocol)


def test_an_aurora_certificate_is_good_for_the_cluster_too(mine: RunningLab) -> None:
    host, port, address = route(mine, "ledger")
    pem = subprocess.run(
        ["openssl", "s_client", "-connect", f"{host}:{port}", "-starttls", "postgres"],
        input="",
        capture_output=True,
        text=True,
        check=False,
    ).stdout
    text = subprocess.run(
        ["openssl", "x509", "-noout", "-ext", "subjectAltName"], input=pem, capture_output=True, text=True, check=True
    ).stdout
    assert address in text
    assert address.replace(".cluster-", ".cluster-ro-") in text
    assert route(mine, "ledger-1")[2] in text


def test_an_immediate_rotation_takes_about_a_second_and_a_half(mine: RunningLab) -> None:
    start = time.monotonic()
    rotate(mine, "shop-sessions", SHOP)
    assert 0.9 < time.monotonic() - start < 4


def test_a_jump_of_the_clock_over_the_window_changes_the_wire(mine: RunningLab) -> None:
    client = rds(mine, region="eu-central-1")
    client.modify_db_instance(DBInstanceIdentifier="orders-eu-db", CACertificateIdentifier=RSA4096)
    assert "RSA2048" in shown(mine, "orders-eu-db", "postgres")
    mine.post("clock", advance=7 * 86400)
    assert "RSA4096" in shown(mine, "orders-eu-db", "postgres")
    assert trusted(mine, "orders-eu-db", "postgres")


def application(lab: RunningLab, name: str) -> dict[str, Any]:
    """Give the row of one of the lab's background clients."""
    found: dict[str, Any] = next(c for c in lab.get("clients") if c["name"] == name)
    return found


def wait_for(lab: RunningLab, name: str, **state: Any) -> dict[str, Any]:
    """Wait until the application *name* is in that state."""
    for _ in range(150):
        found = application(lab, name)
        if all(found[k] == v for k, v in state.items()):
            return found
        time.sleep(0.1)
    raise AssertionError(f"{found} never came to {state}")


def test_applications_hold_tls_and_plaintext_sessions(mine: RunningLab) -> None:
    assert len(mine.get("clients")) == len(APPLICATIONS)
    assert wait_for(mine, "orders-export", connected=True)["tls"] is False
    assert wait_for(mine, "ledger-batch", connected=True)["tls"] is True


def test_an_application_without_the_new_root_fails_until_its_store_gets_it(mine: RunningLab) -> None:
    wait_for(mine, "hr-portal", connected=True)
    rotate(mine, "hr-db", LEGACY, ECC384)
    assert application(mine, "hr-portal")["connected"], "an open session outlives a rotation without restart"
    rds(mine, LEGACY).reboot_db_instance(DBInstanceIdentifier="hr-db")
    assert wait_for(mine, "hr-portal", connected=False, last_error="OperationalError")
    store = Path(application(mine, "hr-portal")["store"])
    store.write_text(store.read_text() + published(mine, WEST))
    assert wait_for(mine, "hr-portal", connected=True)["tls"] is True


def test_a_stopped_instance_is_down_and_comes_back(mine: RunningLab) -> None:
    client = rds(mine)
    client.stop_db_instance(DBInstanceIdentifier="orders-db")
    mine.post("clock", advance=60)
    with pytest.raises(StopIteration):
        route(mine, "orders-db")
    client.start_db_instance(DBInstanceIdentifier="orders-db")
    mine.post("clock", advance=60)
    assert trusted(mine, "orders-db", "postgres")


def test_the_secret_opens_the_database(mine: RunningLab) -> None:
    import psycopg2

    (row,) = rds(mine).describe_db_instances(DBInstanceIdentifier="orders-db")["DBInstances"]
    vault = boto().client(
        "secretsmanager",
        region_name=WEST,
        endpoint_url=mine.url,
        aws_access_key_id=SHOP,
        aws_secret_access_key="worthless",
    )
    told = json.loads(vault.get_secret_value(SecretId=row["MasterUserSecret"]["SecretArn"])["SecretString"])
    host, port, address = route(mine, "orders-db")
    assert told["host"] == address == row["Endpoint"]["Address"]
    session = psycopg2.connect(
        host=host, port=port, user=told["username"], password=told["password"], dbname="postgres"
    )
    session.close()


def test_nothing_listens_beyond_loopback(mine: RunningLab) -> None:
    state = control.status(mine.folder)
    assert state is not None
    pids = [state["pid"], *(c["pid"] for c in state["children"])]
    inodes = {
        str(entry.readlink())[8:-1]
        for pid in pids
        for entry in Path(f"/proc/{pid}/fd").iterdir()
        if str(entry.readlink()).startswith("socket:[")
    }
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            local, state_code, inode = line.split()[1], line.split()[3], line.split()[9]
            if inode in inodes and state_code == "0A":
                assert local.startswith("0100007F:"), f"{table} {local}"


def test_aws_tools_need_only_the_environment(mine: RunningLab) -> None:
    code = (
        "import boto3\n"
        "for p in ('lab', 'default', 'lab-222222222222', 'lab-333333333333'):\n"
        "    s = boto3.Session(profile_name=p)\n"
        "    print(s.client('sts').get_caller_identity()['Account'], len(s.client('rds')"
        ".describe_db_instances()['DBInstances']))\n"
        "print(s._session.get_scoped_config()['rdsca_guard'])\n"
    )
    clean = {k: v for k, v in os.environ.items() if not k.startswith("AWS_")}
    only_files = {k: v for k, v in mine.env.items() if k != "AWS_ENDPOINT_URL"}
    done = subprocess.run(
        [sys.executable, "-c", code], env={**clean, **only_files}, capture_output=True, text=True, check=True
    )
    assert done.stdout.split("\n")[:5] == [
        "111111111111 12",
        "111111111111 12",
        "222222222222 7",
        "333333333333 4",
        "loopback",
    ]


def test_the_files_of_a_fresh_lab(mine: RunningLab) -> None:
    accounts = yaml.safe_load((mine.folder / "accounts.yml").read_text())["accounts"]
    assert [a["account_id"] for a in accounts] == [SHOP, BILLING, LEGACY]
    for account in accounts:
        stores = [open_store(path) for path in account["vars"]["stores"].split(",")]
        assert all(s.contents.entries for s in stores)
        named = {c.store for c in read_clients(Path(account["vars"]["clients"]).read_text()) if c.store}
        assert named <= {str(s.path) for s in stores}
    text = (mine.folder / "stores/shop-catalog.pem").read_text()
    assert text.startswith("#")
    assert text.count("BEGIN CERTIFICATE") == 2
    assert (mine.folder / "aws/credentials").read_text() == ""


def test_the_labs_stores_are_of_every_kind_and_keytool_can_use_the_private_key_in_one(mine: RunningLab) -> None:
    kinds = {open_store(str(p)).kind.name for p in (mine.folder / "stores").iterdir()}
    assert kinds == {"pem", "directory", "jks", "pkcs12", "kubernetes"}
    file = mine.folder / "stores/shop-warehouse.jks"
    assert "PrivateKeyEntry" in keytool(file, "-list")
    assert "BEGIN NEW CERTIFICATE REQUEST" in keytool(file, "-certreq", "-alias", "warehouse-key")


def test_status_of_a_running_lab_and_a_second_start_return_the_same(mine: RunningLab) -> None:
    first = control.status(mine.folder)
    again = control.start(mine.folder)
    assert first is not None
    assert again["pid"] == first["pid"]
    assert first["errors"] == []


# --- labs that come and go


def leftovers(temporary: str) -> list[str]:
    """Name the processes that still work in a lab's temporary folder."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                line = (entry / "cmdline").read_text(errors="replace")
            except OSError:
                continue
            if temporary in line:
                found.append(line)
    return found


def test_two_labs_side_by_side_and_stop_leaves_nothing(mine: RunningLab, tmp_path: Path) -> None:
    said: list[str] = []
    before = time.monotonic()
    other = control.start(tmp_path, say=said.append)
    took = time.monotonic() - before
    assert said[-1] == "the lab is ready"
    assert took < 15, "a start with warm caches takes 2 to 5 s, more on a loaded machine"
    assert other["url"] != mine.url
    rds(RunningLab(tmp_path, other["url"], {})).stop_db_instance(DBInstanceIdentifier="pricing-mssql")
    (row,) = rds(mine).describe_db_instances(DBInstanceIdentifier="pricing-mssql")["DBInstances"]
    assert row["DBInstanceStatus"] == "available"
    assert leftovers(other["temporary"])
    assert control.stop(tmp_path) is True
    assert not processes.runs(other["pid"], other["started"])
    assert leftovers(other["temporary"]) == []
    assert not Path(other["temporary"]).exists()
    assert control.status(tmp_path) is None
    assert control.stop(tmp_path) is False
    assert rds(mine).describe_certificates()["Certificates"]


def test_a_killed_lab_is_cleaned_up_by_the_next_start(tmp_path: Path) -> None:
    first = control.start(tmp_path)
    os.kill(first["pid"], signal.SIGKILL)
    for _ in range(200):
        if not processes.runs(first["pid"], first["started"]):
            break
        time.sleep(0.02)
    assert leftovers(first["temporary"])
    assert control.status(tmp_path) is None
    second = control.start(tmp_path)
    try:
        assert leftovers(first["temporary"]) == []
        assert not Path(first["temporary"]).exists()
        assert leftovers(second["temporary"])
    finally:
        control.stop(tmp_path)
    assert leftovers(second["temporary"]) == []


def test_a_lab_that_is_stopped_while_it_starts_leaves_nothing(tmp_path: Path) -> None:
    daemon = subprocess.Popen([sys.executable, "-m", "rdsca_helpers.lab", "--dir", str(tmp_path)])
    while not (state := read_state(tmp_path)) or not state["children"]:
        time.sleep(0.01)
    daemon.send_signal(signal.SIGTERM)
    assert daemon.wait(30) == 0
    assert leftovers(state["temporary"]) == []
    assert not Path(state["temporary"]).exists()
    assert read_state(tmp_path) is None


def test_ctrl_c_while_a_lab_starts_leaves_nothing(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "rdsca_helpers", "lab", "start", "--dir", str(tmp_path / "lab")]
    restored = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.default_int_handler)}
    starting = subprocess.Popen(words, stderr=subprocess.PIPE, text=True, **restored)
    while not (tmp_path / "lab/lab.json").exists():
        time.sleep(0.02)
    state = read_state(tmp_path / "lab")
    assert state is not None
    starting.send_signal(signal.SIGINT)
    _, told = starting.communicate(timeout=60)
    assert starting.returncode == 4, told
    assert "interrupted" in told
    assert not processes.runs(state["pid"], state["started"])
    assert control.status(tmp_path / "lab") is None


def test_a_pid_that_is_used_again_is_left_alone(tmp_path: Path) -> None:
    bystander = subprocess.Popen(["sleep", "60"])
    try:
        state = {"pid": bystander.pid, "started": "long ago", "temporary": str(tmp_path / "gone"), "url": ""}
        (tmp_path / "lab.json").write_text(json.dumps(state))
        assert control.status(tmp_path) is None
        assert control.stop(tmp_path) is False
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_a_taken_port_is_told_in_one_line(mine: RunningLab, tmp_path: Path) -> None:
    with pytest.raises(Stopped, match="Address already in use"):
        control.start(tmp_path, int(mine.url.rpartition(":")[2]))
    assert control.status(tmp_path) is None


def test_without_a_lab_there_is_no_environment(tmp_path: Path) -> None:
    with pytest.raises(Stopped, match="rdsca lab start"):
        control.environment(tmp_path)
