"""performance_schema switched on in parameter groups: what is sent and what is not, and the whole way to an answer."""

from __future__ import annotations

import json
import shlex
import socket
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pymysql
import pytest
from conftest import AwsSide
from makers import instance
from practice import PASSWORDS, put_behind

import rdsca_helpers as rdsca
from rdsca_helpers import batch, outcome
from rdsca_helpers.edge.folder import RunFolder
from rdsca_helpers.edge.run import Run
from rdsca_helpers.engines.mysql import PERFORMANCE_SCHEMA_OFF
from rdsca_helpers.errors import Refused, UsageError
from rdsca_helpers.lab.seed import LEGACY, WEST
from rdsca_helpers.lab.wire import Wish
from rdsca_helpers.model import (
    Confidence,
    Inventory,
    ParameterReport,
    ParameterStatus,
    Plan,
    SessionReport,
    Sessions,
    Trust,
    now,
)
from rdsca_helpers.performance_schema import commands, judge
from rdsca_helpers.runbook.rotation import journal_of, journaled
from rdsca_helpers.start import start

CRM, GROUP = "crm-db", "crm-mariadb"
OFF = f"{PERFORMANCE_SCHEMA_OFF}, so the server cannot tell"


def opened(where: Path, notebook: str = "92-performance-schema", **values: Any) -> Run:
    return start(notebook, {"run_dir": str(where), "regions": WEST, "account": LEGACY, "role": "rdsca", **values})


def told_off(run: Run, *names: str) -> tuple[Inventory, SessionReport]:
    """Discover, and give session rows in which the servers *names* said that performance_schema is OFF."""
    found = rdsca.discover(run)
    rows = tuple(
        Sessions.of(i, "a test", Confidence.PARTIAL, (), OFF if i.instance in names else "") for i in found.rows
    )
    return found, SessionReport(account=run.account, regions=run.regions, made_at=now(), rows=rows)


def change(where: Path, *names: str, action: str = "apply", **values: Any) -> ParameterReport:
    run = opened(where, action=action, **values)
    return rdsca.enable_performance_schema(run, *told_off(run, *names), say=lambda _: None)


def move(aws: AwsSide, name: str, group: str = GROUP) -> None:
    """Put an instance into *group* by the back door."""
    found = aws.world.region(LEGACY, WEST).instances[name]
    found.facts["DBParameterGroups"] = [{"DBParameterGroupName": group, "ParameterApplyStatus": "in-sync"}]
    found.xml = None


def value(aws: AwsSide, group: str = GROUP) -> str:
    rows = aws.client(account=LEGACY).describe_db_parameters(DBParameterGroupName=group)["Parameters"]
    return next(str(r["ParameterValue"]) for r in rows if r["ParameterName"] == "performance_schema")


def apply_status(aws: AwsSide, name: str) -> tuple[str, str]:
    (row,) = aws.client(account=LEGACY).describe_db_instances(DBInstanceIdentifier=name)["DBInstances"]
    (group,) = row["DBParameterGroups"]
    return group["DBParameterGroupName"], group["ParameterApplyStatus"]


def sent(aws: AwsSide) -> list[str]:
    return [c.action for c in aws.world_calls() if c.mutating]


def statuses(report: ParameterReport) -> list[str]:
    return [str(row.status) for row in report.rows]


def events(where: Path) -> list[str]:
    return [e["event"] for e in journal_of(where)]


def test_showing_tells_the_change_the_reboot_and_who_else_gets_it_and_sends_nothing(
    profile: AwsSide, tmp_path: Path
) -> None:
    move(profile, "old-forum")
    report = change(tmp_path, CRM, action="show")
    (row,) = report.rows
    assert (row.group, row.status, row.present) == (GROUP, ParameterStatus.WOULD_CHANGE, "0 (static)")
    assert row.shared_with == ("old-forum",)
    assert "after the next reboot" in row.detail
    assert row.window_utc.count("/") == 1
    assert "get the change too: old-forum" in report.meaning
    assert "rdsca leaves to you" in report.meaning
    assert "Performance Insights" in report.meaning
    (line,) = row.cli
    words = shlex.split(line)
    assert words[:3] == ["aws", "rds", "modify-db-parameter-group"]
    assert words[words.index("--endpoint-url") + 1] == profile.url
    assert sent(profile) == []
    assert outcome.code(report) == 0
    assert not (tmp_path / "journal.jsonl").exists()


def test_applying_sends_one_request_with_intent_before_it_and_reboots_nothing(profile: AwsSide, tmp_path: Path) -> None:
    report = change(tmp_path, CRM)
    assert statuses(report) == ["changed"]
    assert report.rows[0].request_id
    assert outcome.code(report) == 0
    assert value(profile) == "1"
    assert apply_status(profile, CRM) == (GROUP, "pending-reboot")
    assert sent(profile) == ["ModifyDBParameterGroup"]
    (call,) = [c for c in profile.world_calls() if c.mutating]
    assert "rdsca parameter/performance_schema" in call.agent
    assert events(tmp_path) == ["parameter intent", "parameter changed"]


def test_a_second_run_finds_the_group_changed_and_sends_nothing(profile: AwsSide, tmp_path: Path) -> None:
    change(tmp_path, CRM)
    again = change(tmp_path, CRM)
    assert statuses(again) == ["unchanged"]
    assert "after a reboot" in again.rows[0].detail
    assert len(sent(profile)) == 1
    assert outcome.code(again) == 0


def test_instances_of_one_group_share_its_one_request(profile: AwsSide, tmp_path: Path) -> None:
    move(profile, "old-forum")
    report = change(tmp_path, CRM, "old-forum")
    assert statuses(report) == ["changed", "changed"]
    assert len({row.request_id for row in report.rows}) == 1
    assert len(sent(profile)) == 1


def test_a_default_group_is_refused_and_the_lines_for_one_of_its_own_do_what_they_say(
    profile: AwsSide, tmp_path: Path
) -> None:
    report = change(tmp_path, "old-forum")
    (row,) = report.rows
    assert (row.status, row.group) == (ParameterStatus.REFUSED, "default.mysql5.7")
    assert "give the instance a group of its own" in row.detail
    assert sent(profile) == []
    assert outcome.code(report) == 3
    rds = profile.client(account=LEGACY)
    for line in row.cli:
        run_as_aws_cli(rds, line)
    assert apply_status(profile, "old-forum") == ("old-forum-mysql5-7", "pending-reboot")
    assert value(profile, "old-forum-mysql5-7") == "1"
    assert outcome.code(change(tmp_path, "old-forum")) == 0


def run_as_aws_cli(rds: Any, line: str) -> None:
    """Call boto3 with what an AWS CLI line says; the CLI makes its options from the same model."""
    verb, *words = shlex.split(line)[2:]
    operation = verb.replace("-", "_")
    members = rds.meta.service_model.operation_model(rds.meta.method_to_api_mapping[operation]).input_shape.members
    options = {"--" + "".join(f"-{c.lower()}" if c.isupper() else c for c in m).lstrip("-"): m for m in members}
    options = {name.replace("d-b-", "db-"): member for name, member in options.items()}
    given: dict[str, Any] = {}
    for option, text in zip(words[::2], words[1::2], strict=True):
        if option in options:
            pairs = [dict(part.split("=") for part in text.split(","))] if option == "--parameters" else text
            given[options[option]] = pairs
        else:
            assert option in ("--region", "--endpoint-url", "--profile")
    getattr(rds, operation)(**given)


def test_one_changed_and_one_refused_is_stopped_and_not_refused(profile: AwsSide, tmp_path: Path) -> None:
    report = change(tmp_path, CRM, "old-forum")
    assert sorted(statuses(report)) == ["changed", "refused"]
    assert outcome.code(report) == 4
    shown = change(tmp_path / "other", CRM, "old-forum", action="show")
    assert outcome.failure(shown) is None  # showing refuses nothing


@pytest.mark.parametrize(
    "fault", [{"kind": "lost_reply"}, {"kind": "lost_request"}, {"code": "InternalFailure"}], ids=str
)
def test_an_answer_that_did_not_come_is_unknown_and_the_request_is_never_sent_again(
    profile: AwsSide, tmp_path: Path, fault: dict[str, str]
) -> None:
    profile.post("fault", action="ModifyDBParameterGroup", times=1, **fault)
    report = change(tmp_path, CRM)
    assert statuses(report) == ["unknown"]
    assert outcome.code(report) == 6
    with pytest.raises(Exception, match="outcome unknown") as ended:
        rdsca.keep(opened(tmp_path), report)
    assert getattr(ended.value, "code", 0) == 6
    before = len(sent(profile))
    again = change(tmp_path, CRM)
    assert len(sent(profile)) == before
    assert statuses(again) == (["unchanged"] if value(profile) == "1" else ["unknown"])


def test_an_intent_without_an_end_is_taken_for_a_request_that_may_have_been_sent(
    profile: AwsSide, tmp_path: Path
) -> None:
    with RunFolder(tmp_path).journal() as journal:
        journal.write("parameter intent", group=f"{WEST}/{GROUP}", parameter="performance_schema", to="1")
    report = change(tmp_path, CRM)
    assert statuses(report) == ["unknown"]
    assert "not sent again" in report.rows[0].detail
    assert sent(profile) == []


def test_what_aws_says_no_to_is_refused_with_its_words_and_may_be_tried_again(profile: AwsSide, tmp_path: Path) -> None:
    profile.post("fault", action="ModifyDBParameterGroup", code="AccessDenied", times=1)
    report = change(tmp_path, CRM)
    assert statuses(report) == ["refused"]
    assert "rds:ModifyDBParameterGroup was refused" in report.rows[0].detail
    assert outcome.code(report) == 3
    with pytest.raises(Refused, match="not changed: crm-db"):
        rdsca.keep(opened(tmp_path), report)
    assert statuses(change(tmp_path, CRM)) == ["changed"]


def test_a_group_that_cannot_be_read_is_a_problem_and_nothing_is_sent(profile: AwsSide, tmp_path: Path) -> None:
    profile.post("fault", action="DescribeDBParameters", code="AccessDenied")
    report = change(tmp_path, CRM)
    assert statuses(report) == ["refused"]
    assert "rds:DescribeDBParameters was refused" in report.problems[0].what
    assert sent(profile) == []


def test_only_servers_that_said_off_are_taken_and_a_name_that_is_none_of_them_is_a_wrong_parameter(
    profile: AwsSide, tmp_path: Path
) -> None:
    move(profile, "old-forum")
    assert [r.instance for r in change(tmp_path, CRM, "old-forum", action="show", instances="old-forum").rows] == [
        "old-forum"
    ]
    assert change(tmp_path, action="show").rows == ()
    with pytest.raises(UsageError, match="hr-db, whose server did not say"):
        change(tmp_path, CRM, instances="crm-db, hr-db")
    assert sent(profile) == []


def test_what_it_writes_into_the_journal_is_nothing_to_a_rotation(profile: AwsSide, tmp_path: Path) -> None:
    profile.post("fault", action="ModifyDBParameterGroup", kind="lost_reply", times=1)
    change(tmp_path, CRM)
    assert events(tmp_path) == ["parameter intent", "parameter unknown"]
    assert not batch._under_way(tmp_path)
    run = opened(tmp_path, "04-plan")
    inventory, sessions = told_off(run, CRM)
    trust = Trust(account=run.account, regions=run.regions, made_at=now(), rows=())
    made = rdsca.make_plan(run, inventory, sessions, trust)
    assert journaled(made, journal_of(tmp_path)) == {}
    rdsca.keep(run, made)
    assert rdsca.load(run, Plan).digest == made.digest


def test_its_report_may_be_older_or_newer_than_others_in_a_sealed_folder(profile: AwsSide, tmp_path: Path) -> None:
    run = opened(tmp_path, action="show")
    inventory, sessions = told_off(run, CRM)
    old = rdsca.enable_performance_schema(run, inventory, sessions)
    rdsca.keep(run, replace(old, made_at=inventory.made_at.replace(year=2020)))
    rdsca.keep(run, inventory)
    rdsca.keep(run, sessions)
    page = rdsca.write_report(opened(tmp_path, "07-evidence")).read_text()
    assert "Parameter groups" in page
    rdsca.seal(run)
    assert rdsca.check(tmp_path) == []
    (tmp_path / "parameters.json").unlink()
    assert "Parameter groups" not in rdsca.write_report(opened(tmp_path, "07-evidence")).read_text()


@pytest.mark.parametrize(
    ("groups", "parameter", "status", "word"),
    [
        (["own"], {"IsModifiable": True, "ParameterValue": "0"}, "would change", "reboot"),
        (["own"], {"IsModifiable": True}, "would change", "reboot"),
        (["own"], {"IsModifiable": True, "ParameterValue": "ON"}, "unchanged", "already"),
        (["own"], {"IsModifiable": False, "ParameterValue": "0"}, "refused", "does not let"),
        (["own"], None, "refused", "no parameter"),
        (["own", "next"], {"IsModifiable": True}, "refused", "on its way"),
        ([], None, "refused", "does not say"),
        (["default.mysql8.4"], {"IsModifiable": True, "ParameterValue": "0"}, "refused", "default group"),
    ],
)
def test_what_is_done_with_a_group(groups: list[str], parameter: Any, status: str, word: str) -> None:
    found, reason = judge(instance(), groups, parameter)
    assert found == status
    assert word in reason


def test_a_multi_az_cluster_has_it_in_a_group_that_only_a_person_changes() -> None:
    cluster = instance(kind="multi-az-cluster", cluster_parameter_group="own-cluster")
    status, reason = judge(cluster, [], None)
    assert status is ParameterStatus.REFUSED
    assert "own-cluster" in reason
    (line,) = commands(cluster, "", endpoint="", profile="")
    assert "modify-db-cluster-parameter-group --db-cluster-parameter-group-name own-cluster" in line


def test_the_whole_way_from_unknown_over_the_change_and_a_reboot_to_an_answer(
    profile: AwsSide, templates: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    crm = profile.world.region(LEGACY, WEST).instances[CRM]
    monkeypatch.setenv("RDSCA_TEST_PASSWORD", PASSWORDS["rdsca_ro"])
    where = tmp_path / "run"
    login = {"credentials": "env:RDSCA_TEST_PASSWORD", "db_user": "rdsca_ro"}

    def sessions_now() -> Sessions:
        run = opened(where, "02-sessions", **login)
        found = rdsca.discover(run)
        rdsca.keep(run, inventory := replace(found, rows=tuple(r for r in found.rows if r.instance == CRM)))
        rdsca.keep(run, report := rdsca.check_sessions(run, inventory))
        return report.rows[0]

    wishes = [Wish(crm, "mariadb", performance_schema=False)]
    with put_behind(profile, tmp_path / "profile", templates, wishes) as servers:

        def client(**tls: Any) -> Any:
            session = pymysql.connect(user="app", password=PASSWORDS["app"], defer_connect=True, **tls)
            session.connect(socket.create_connection(("127.0.0.1", servers["mariadb"].port)))
            return closing(session)

        with client(ssl_disabled=True):
            before = sessions_now()
        assert (before.tls, before.plain, before.unknown) == (0, 0, 1)
        assert PERFORMANCE_SCHEMA_OFF in before.remedy

        run = opened(where, action="apply")
        changed = rdsca.enable_performance_schema(run, rdsca.load(run, Inventory), rdsca.load(run, SessionReport))
        rdsca.keep(run, changed)
        assert statuses(changed) == ["changed"]
        assert json.loads((where / "parameters.json").read_text())["rows"][0]["group"] == GROUP

        rds = profile.client(account=LEGACY)
        rds.reboot_db_instance(DBInstanceIdentifier=CRM)
        deadline = time.monotonic() + 60
        while (group := apply_status(profile, CRM)) != (GROUP, "in-sync") or crm.status != "available":
            assert time.monotonic() < deadline, group
            time.sleep(0.1)

        with client(ssl_disabled=True), client(ssl={"check_hostname": False, "verify_mode": False}):
            after = sessions_now()
        assert (after.tls, after.plain, after.unknown) == (1, 1, 0)
        assert after.confidence is Confidence.FULL
