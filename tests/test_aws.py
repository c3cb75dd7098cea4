"""The way to AWS, through real boto3 against the lab: the guard, whose credentials these are, and reading it all."""

from __future__ import annotations

import socket
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from conftest import AwsSide

import rdsca_helpers as rdsca
from rdsca_helpers.edge.aws import Aws
from rdsca_helpers.edge.run import Run
from rdsca_helpers.errors import AccessDenied, RdscaError, Refused, Unreachable, UsageError
from rdsca_helpers.lab import folder
from rdsca_helpers.lab.seed import BILLING, CENTRAL, LEGACY, OREGON, SHOP, WEST
from rdsca_helpers.start import start


def opened(where: Path, **values: Any) -> Run:
    return start("01-discover", {"run_dir": str(where), **values})


def closed_port() -> int:
    """Give a port on loopback where nobody listens."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


# --- the guard, and whose credentials these are


@pytest.mark.parametrize("role", ["", "rdsca"])
def test_the_lab_profile_never_hands_out_a_client_that_would_leave_this_machine(
    profile: AwsSide, monkeypatch: pytest.MonkeyPatch, role: str
) -> None:
    monkeypatch.setenv("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true")
    with pytest.raises(Refused, match=r"confined to this machine.*amazonaws\.com"):
        Aws(profile="lab", account=SHOP, role=role).check_account()
    assert profile.get("calls")["total"] == 0


@pytest.mark.parametrize("service", ["rds", "secretsmanager", "account"])
def test_the_guard_holds_for_every_service_and_for_the_changing_client(
    profile: AwsSide, monkeypatch: pytest.MonkeyPatch, service: str
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_RDS", "http://192.0.2.1:9")
    monkeypatch.setenv("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true")
    aws = Aws(profile="lab", account=SHOP)
    with pytest.raises(Refused, match="confined"):
        aws.client(service, "us-east-1")
    with pytest.raises(Refused, match="confined"):
        aws.client(service, "us-east-1", changing_by="0" * 64)


def test_the_lab_profile_goes_round_a_proxy(profile: AwsSide, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{closed_port()}")
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{closed_port()}")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    assert f":{SHOP}:" in Aws(profile="lab", account=SHOP).check_account()


def test_credentials_of_another_account_are_refused_before_anything_is_read(profile: AwsSide, tmp_path: Path) -> None:
    with pytest.raises(Refused, match=f"of account {SHOP}, not {BILLING}"):
        opened(tmp_path / "run", account=BILLING)
    assert {c.action for c in profile.world_calls()} == {"GetCallerIdentity"}
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("role", ["rdsca", f"arn:aws:iam::{BILLING}:role/rdsca"])
def test_a_role_leads_into_its_account_by_name_and_by_arn(profile: AwsSide, role: str) -> None:
    aws = Aws(profile="lab", account=BILLING, role=role)
    assert aws.check_account().startswith(f"arn:aws:sts::{BILLING}:assumed-role/rdsca/")
    assert [i["DBInstanceIdentifier"] for i in aws.region_facts(OREGON)[0].instances] == [
        "billing-us-db",
        "fraud-graph-1",
    ]


def test_a_role_that_may_not_be_assumed_is_named(profile: AwsSide) -> None:
    with pytest.raises(AccessDenied, match=r"sts:AssumeRole was refused in .*999999999999"):
        Aws(profile="lab", account="999999999999", role="rdsca").check_account()


def test_an_unknown_profile_is_a_wrong_parameter_with_the_way_to_the_practice_world(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    with pytest.raises(UsageError, match=r"'lab'.*rdsca lab start"):
        Aws(profile="lab", account=SHOP)
    with pytest.raises(UsageError, match=r"'mine'.*list-profiles"):
        Aws(profile="mine", account=SHOP)


def test_a_machine_without_credentials_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(UsageError, match="no AWS credentials were found; log in"):
        Aws(profile="", account=SHOP).check_account()
    with pytest.raises(UsageError, match="no AWS credentials were found; log in"):
        Aws(profile="", account=SHOP, role="rdsca")


@pytest.mark.parametrize(
    ("code", "remedy"),
    [
        ("ExpiredToken", "log in again"),
        ("InvalidClientTokenId", "log in again"),
        ("SignatureDoesNotMatch", "clock right"),
        ("RequestExpired", "clock right"),
    ],
)
def test_credentials_that_aws_does_not_take_are_refused_with_what_to_do(
    profile: AwsSide, tmp_path: Path, code: str, remedy: str
) -> None:
    run = opened(tmp_path)
    profile.post("fault", action="DescribeDBInstances", code=code)
    with pytest.raises(Refused, match=f"rds:DescribeDBInstances in {SHOP}/{WEST}.*{remedy}"):
        rdsca.discover(run)


# --- reading all of it


def test_every_page_of_more_than_a_hundred_instances_is_read(profile: AwsSide, tmp_path: Path) -> None:
    profile.post("grow", account=SHOP, region=OREGON, count=250)
    found = rdsca.discover(opened(tmp_path, regions=OREGON))
    names = Counter(r.instance for r in found.rows)
    assert sum(n.startswith("grown-postgres-") for n in names) == 250
    assert set(names.values()) == {1}
    assert found.problems == ()


def test_throttling_on_a_later_page_makes_it_slower_and_never_shorter(profile: AwsSide, tmp_path: Path) -> None:
    profile.post("grow", account=SHOP, region=OREGON, count=250)
    profile.post("fault", action="DescribeDBInstances", code="Throttling", skip=1, times=1)
    found = rdsca.discover(opened(tmp_path, regions=OREGON))
    assert sum(r.instance.startswith("grown-postgres-") for r in found.rows) == 250
    assert sum(c.code == "Throttling" for c in profile.world_calls()) == 1


def test_a_later_page_that_is_refused_leaves_no_short_list(profile: AwsSide, tmp_path: Path) -> None:
    profile.post("grow", account=SHOP, region=OREGON, count=250)
    profile.post("fault", action="DescribeDBInstances", code="AccessDenied", skip=2, region=OREGON)
    found = rdsca.discover(opened(tmp_path, regions=f"{WEST},{OREGON}"))
    assert {r.region for r in found.rows} == {WEST}
    assert "NOT SCANNED" in found.meaning


def test_a_denied_region_is_named_with_the_missing_action_and_the_others_are_read(
    profile: AwsSide, tmp_path: Path
) -> None:
    run = opened(tmp_path, account=LEGACY, role="rdsca", regions=f"{WEST},{CENTRAL},{OREGON}")
    found = rdsca.discover(run)
    assert {r.region for r in found.rows} == {WEST, CENTRAL}
    (problem,) = found.problems
    assert problem.where == f"{LEGACY}/{OREGON}"
    assert problem.what.startswith("not scanned: rds:DescribeDBInstances was refused")
    assert "allow it in the role" in problem.remedy


def test_a_run_whose_every_region_is_denied_is_an_error_and_no_empty_inventory(
    profile: AwsSide, tmp_path: Path
) -> None:
    with pytest.raises(AccessDenied, match="rds:DescribeDBInstances"):
        rdsca.discover(opened(tmp_path, account=LEGACY, role="rdsca", regions=OREGON))


@pytest.mark.parametrize(
    "action",
    [
        "DescribeDBClusters",
        "DescribeCertificates",
        "DescribeDBEngineVersions",
        "DescribePendingMaintenanceActions",
        "DescribeDBProxies",
    ],
)
def test_a_list_beside_the_instances_that_is_refused_is_a_problem_and_its_facts_are_unknown(
    profile: AwsSide, tmp_path: Path, action: str
) -> None:
    profile.post("fault", action=action, code="AccessDenied")
    found = rdsca.discover(opened(tmp_path))
    assert {p.where for p in found.problems} == {f"{SHOP}/{WEST}"}
    assert all(f"rds:{action} was refused" in p.what for p in found.problems)
    (orders,) = (r for r in found.rows if r.instance == "orders-db")
    if action == "DescribeCertificates":
        assert orders.ca_expires is None
    if action == "DescribeDBEngineVersions":
        assert orders.supported_cas is None
        assert orders.restart == "unknown"
    if action == "DescribePendingMaintenanceActions":
        assert orders.pending_action == "unknown"


def test_all_regions_are_those_that_are_switched_on_and_the_others_are_named(profile: AwsSide, tmp_path: Path) -> None:
    run = opened(tmp_path, regions="all")
    assert set(run.regions) == {WEST, CENTRAL, OREGON}
    assert {p.where for p in run.problems} == {f"{SHOP}/af-south-1", f"{SHOP}/me-south-1"}
    assert all("switched off" in p.what for p in run.problems)


def test_a_region_that_is_switched_off_is_not_scanned_and_the_remedy_says_that_it_may_be_off(
    profile: AwsSide, tmp_path: Path
) -> None:
    found = rdsca.discover(opened(tmp_path, regions=f"{WEST},af-south-1"))
    (problem,) = found.problems
    assert problem.where == f"{SHOP}/af-south-1"
    assert problem.what.startswith("not scanned")
    assert "switched off" in problem.remedy
    assert {r.region for r in found.rows} == {WEST}


# --- an AWS that does not answer


def test_a_change_that_could_not_reach_aws_was_not_sent(
    profile: AwsSide, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.write_aws_files(tmp_path / "nobody", closed_port())
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "nobody/aws/config"))
    aws = Aws(profile="lab", account=SHOP)
    with pytest.raises(Refused, match="nothing was sent"):
        aws.change_ca(WEST, "orders-db", "instance", "rds-ca-rsa4096-g1", now=True, plan="0" * 64)


def test_an_aws_that_does_not_answer_is_named_with_what_to_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.write_aws_files(tmp_path / "nobody", closed_port())
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "nobody/aws/config"))
    for name in ("AWS_ENDPOINT_URL", "AWS_PROFILE", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(Unreachable, match=r"sts:GetCallerIdentity got no answer.*rdsca lab status"):
        Aws(profile="lab", account=SHOP).whoami()


def test_no_error_of_this_floor_shows_a_traceback_in_a_notebook(profile: AwsSide) -> None:
    with pytest.raises(RdscaError) as found:
        Aws(profile="lab", account=BILLING).check_account()
    (line,) = found.value._render_traceback_()
    assert line.startswith("Refused: the credentials are of account")
