"""Tables: hostile text stays text, what presses comes first, and empty reports have tables too."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import replace
from typing import Any

import pytest
from makers import (
    NOW,
    days,
    empty_reports,
    every_report,
    instance,
    inventory,
    parameter_change,
    proof,
    report,
    sessions,
    store,
)

from rdsca_helpers import tables
from rdsca_helpers.model import ParameterReport, ProofReport, Rejection, SessionReport, Trust, Urgency

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</textarea></td></table><b>",
    "javascript:alert(1)",
    '=HYPERLINK("http://evil.example","x")',
    "{{ 7 * 7 }}{% raw %}",
    "\x1b[2J\x1b]0;owned\x07",
    "abc\u202egnp.exe\u2066",
    "zero\u200bwidth\u200f\u2028\ufeff\u00ad",
    "line\r\nbreak\ttab\0nul",
    "x" * 1_000_000,
    "\udcff not utf-8",
]
INVISIBLE = {"Cc", "Cf", "Cs", "Zl", "Zp"}


@pytest.mark.parametrize("text", HOSTILE, ids=[repr(t[:12]) for t in HOSTILE])
@pytest.mark.parametrize("kind", tables.COLUMNS)
def test_hostile_text_in_any_report_stays_text(kind: str, text: str) -> None:
    found = every_report(text)[kind]
    shown = [tables.table(found), tables.problems(found)] + ([tables.clients(found)] if kind == "sessions" else [])
    if kind == "trust":
        row = store(text, store=text, region=text, format=text, root=text, backup=text, missing_sha256=("ab",))
        advised = store(store=text, client=text, driver="psycopg2")
        shown += [tables.additions(report(Trust, row)), tables.advice(report(Trust, advised))]
    for styler in shown:
        page = styler.to_html()
        page.encode()
        assert not re.search(r"<(script|img|b|textarea|a)\b", page)
        assert not [c for c in page if unicodedata.category(c) in INVISIBLE and c != "\n"]
        assert len(page) < 40_000


@pytest.mark.parametrize("text", [t for t in HOSTILE if not t.startswith("x")])
def test_plain_text_keeps_every_character_that_can_be_seen(text: str) -> None:
    shown = tables.plain(text)
    assert not [c for c in shown if unicodedata.category(c) in INVISIBLE]
    assert [c for c in text if unicodedata.category(c) not in INVISIBLE] == list(re.sub(r"\\u[0-9a-f]{4}", "", shown))


def test_text_of_a_megabyte_is_cut_and_says_so() -> None:
    assert tables.plain("x" * 1_000_000).endswith("x…")
    assert len(tables.plain("x" * 1_000_000)) < 400
    assert tables.plain("ordinary, né, 数据") == "ordinary, né, 数据"


def test_the_meaning_that_is_printed_cannot_command_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    tables.meaning(report(SessionReport, meaning="clients \x1b[2J\u202e are not back"))
    said = capsys.readouterr().out
    assert "\x1b" not in said
    assert "\u202e" not in said
    assert "are not back" in said


def test_a_meaning_is_printed_whole(capsys: pytest.CaptureFixture[str]) -> None:
    long = "a sentence of some length; " * 60
    tables.meaning(report(SessionReport, meaning=long))
    said = capsys.readouterr().out
    assert long.strip() in said.replace("\n", " ")
    assert max(map(len, said.splitlines())) <= 110


@pytest.mark.parametrize("kind", tables.COLUMNS)
def test_an_empty_report_has_a_table_with_its_columns(kind: str) -> None:
    empty = empty_reports()[kind]
    page = tables.table(empty).to_html()
    assert all(f">{column}</th>" in page for column in tables.COLUMNS[kind].split())
    assert list(tables.frame(empty).index) == []
    tables.problems(empty).to_html()


def test_what_presses_comes_first_what_is_unknown_last_and_what_is_skipped_after_all() -> None:
    rows = [
        instance("late", cert_expires=NOW + days(300)),
        instance("blind", cert_expires=None),
        instance("proxy", cert_expires=None, skip_reason="RDS Proxy"),
        instance("past", cert_expires=NOW - days(3)),
        instance("soon", cert_expires=NOW + days(3)),
    ]
    _, shown = tables.cells(inventory(*rows))
    assert [r["instance"] for r in shown] == ["past", "soon", "late", "blind", "proxy"]


def test_what_aws_did_not_say_is_shown_as_unknown_and_never_as_an_empty_cell() -> None:
    _, (row,) = tables.cells(inventory(instance(ca=None, cert_expires=None, urgency=Urgency.UNKNOWN)))
    assert (row["ca"], row["cert_expires"], row["urgency"]) == ("unknown",) * 3


def test_a_client_says_yes_no_or_unknown_of_tls() -> None:
    _, rows = tables.client_cells(report(SessionReport, sessions(tls=1, plain=1, unknown=1)))
    assert [r["tls"] for r in rows] == ["yes", "no", "unknown"]


def test_clients_of_instances_of_one_name_in_two_regions_are_told_apart() -> None:
    pair = [replace(sessions(tls=1), region=region) for region in ("eu-west-1", "us-east-1")]
    columns, rows = tables.client_cells(report(SessionReport, *pair))
    assert "region" in columns
    assert [r["region"] for r in rows] == ["eu-west-1", "us-east-1"]


@pytest.mark.parametrize("kind", tables.COLUMNS)
def test_the_frame_has_every_row_and_every_column(kind: str) -> None:
    found: Any = every_report()[kind]
    frame = tables.frame(found)
    assert len(frame) == len(found.rows)
    assert set(tables.COLUMNS[kind].split()) <= set(frame.columns)


def test_every_word_of_a_verdict_has_a_tone_and_other_columns_have_none() -> None:
    assert tables.tone("urgency", "expired") == "bad"
    assert tables.tone("urgency", "unknown") == "warn"
    assert tables.tone("instance", "expired") == ""
    for word in Urgency:
        assert tables.tone("urgency", word)


def test_the_names_of_instances_that_share_a_group_are_text_and_not_a_list_of_python() -> None:
    _, (row,) = tables.cells(report(ParameterReport, parameter_change(shared_with=("b", "c"))))
    assert row["shared_with"] == "b, c"


def test_the_commands_are_printed_line_by_line_for_each_instance(capsys: pytest.CaptureFixture[str]) -> None:
    tables.commands(report(ParameterReport, parameter_change(cli=("aws rds one", "aws rds two\x1b[2J"))))
    assert capsys.readouterr().out == "# orders: would change\naws rds one\naws rds two\\u001b[2J\n"


def test_a_table_of_two_thousand_rows_has_them_all() -> None:
    many = replace(inventory(), rows=tuple(instance(f"db-{i}") for i in range(2000)))
    assert len(tables.cells(many)[1]) == 2000


def test_each_root_is_an_addition_once_for_each_store_however_many_read_it() -> None:
    rows = [
        store("old-only", client="a", missing_sha256=("ab",)),
        store("old-only", client="b", missing_sha256=("ab",)),
        store("ready", store="/b", added_sha256=("cd",), backup="/b.bak"),
        store("ready", store="/c"),
    ]
    _, shown = tables.addition_cells(report(Trust, *rows))
    assert [(r["store"], r["SHA-256"], r["status"], r["backup"]) for r in shown] == [
        ("/etc/ssl/rds.pem", "ab", "would be added", ""),
        ("/b", "cd", "added", "/b.bak"),
    ]
    assert "Nothing is missing" in tables.additions(report(Trust, store())).to_html()


def test_advice_is_for_the_clients_that_are_known_else_for_every_driver_that_reads_the_stores() -> None:
    _, rows = tables.advice_cells(report(Trust, store(client="web", driver="pymysql"), store(store="/b.jks")))
    assert [(r["client"], r["driver"], r["store"]) for r in rows] == [("web", "pymysql", "/etc/ssl/rds.pem")]
    assert "/etc/ssl/rds.pem" in rows[0]["verifies with"]
    _, rows = tables.advice_cells(report(Trust, store(), store(store="/b.jks", format="jks", family="java")))
    found = {r["driver"]: r["store"] for r in rows}
    assert (found["psycopg2"], found["mysql-connector-j"]) == ("/etc/ssl/rds.pem", "/b.jks")
    assert "sqlserver" not in found
    assert tables.advice_cells(report(Trust))[1] == []


def test_rejecting_clients_have_a_row_each_and_where_nothing_could_be_read_is_named() -> None:
    row = Rejection(host="10.0.0.5", reason="does not know the CA", source="<b>", count=7)
    found = report(ProofReport, proof(rejected=(row,), rejections_read="its log"), proof(name="blind"))
    _, rows = tables.rejected_cells(found)
    assert [(r["instance"], r["host"], r["count"], r["last"]) for r in rows] == [("orders", "10.0.0.5", "7", "unknown")]
    shown = tables.rejected(found).to_html()
    assert "&lt;b&gt;" in shown
    assert "could not be looked for: blind" in shown
    assert "could not" not in tables.rejected(report(ProofReport, proof(rejections_read="its log"))).to_html()
