"""The pages that people open: they load nothing, run nothing, and leave nothing out."""

from __future__ import annotations

import unicodedata
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from makers import NOW, empty_reports, every_report, instance, inventory
from test_tables import HOSTILE, INVISIBLE

from rdsca_helpers import pages, runbook
from rdsca_helpers.edge import folder
from rdsca_helpers.model import REPORTS

APPROVAL = {"plan": "0" * 64, "by": "Ada", "at": "2026-11-24T07:30:00Z", "note": "change 42"}
LOADS = {"src", "href", "data", "action", "srcset", "poster", "background", "formaction"}


class Tags(HTMLParser):
    """What a browser would find: tags, attributes, and the text between them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {k: v or "" for k, v in attrs}))

    def handle_data(self, data: str) -> None:
        self.text += data


def account_page(reports: Any, approval: Any = APPROVAL) -> str:
    return pages.account_page(reports, approval, now=NOW)


def fleet(reports: Any, name: str = "shop", state: str = "done") -> str:
    return pages.fleet_page(
        [("111111111111", name, reports, state)], links={"111111111111": "111111111111/report.html"}, now=NOW
    )


def is_tame(page: str) -> bool:
    found = Tags(page)
    for tag, attributes in found.tags:
        assert tag not in (
            "script",
            "iframe",
            "object",
            "embed",
            "link",
            "base",
            "form",
            "svg",
            "b" if "alert" in page else "",
        )
        assert not any(name.startswith("on") for name in attributes)
        for name in LOADS & set(attributes):
            assert attributes[name].startswith(("data:image/png;base64,", "111111111111/")), attributes[name][:60]
    (policy,) = [a["content"] for t, a in found.tags if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy.startswith("default-src 'none'")
    assert "script-src" not in policy
    style = page.partition("<style>")[2].partition("</style>")[0]
    assert "url(" not in style
    assert "@import" not in style
    return True


@pytest.mark.parametrize("reports", [every_report(), empty_reports()], ids=["full", "empty"])
def test_the_pages_load_nothing_and_run_nothing(reports: Any) -> None:
    assert is_tame(account_page(reports))
    assert is_tame(fleet(reports))


@pytest.mark.parametrize("text", HOSTILE, ids=[repr(t[:12]) for t in HOSTILE])
def test_hostile_text_stays_text_on_both_pages(text: str) -> None:
    reports = every_report(text)
    for page in (account_page(reports, APPROVAL | {"by": text, "note": text}), fleet(reports, name=text, state=text)):
        page.encode()
        assert len(page) < 2_000_000
        assert "<script" not in page
        assert "<img src=x" not in page
        seen = Tags(page)
        assert not any(name.startswith("on") for _, attributes in seen.tags for name in attributes)
        assert not [c for c in seen.text if unicodedata.category(c) in INVISIBLE and c != "\n"]


@pytest.mark.parametrize("kind", REPORTS)
def test_a_page_with_one_report_renders_and_names_the_steps_that_left_none(kind: str) -> None:
    page = account_page({kind: every_report()[kind]}, None)
    for other, title in pages.TITLES.items():
        assert (title.replace("'", "&#39;") in page) == (other == kind or other != "parameters")
        assert ("left no report" in page) if other != kind else True


def test_every_row_and_every_problem_is_on_the_page() -> None:
    many = inventory(*(instance(f"db-{i}x") for i in range(150)))
    reports = every_report("a problem of its own") | {"inventory": many}
    text = Tags(account_page(reports)).text
    assert all(f"db-{i}x" in text for i in range(150))
    assert text.count("a problem of its own") >= 5


def test_every_picture_has_words_that_stand_for_it() -> None:
    for reports, count in ((every_report(), 5), (empty_reports(), 4)):  # no stores, no matrix
        images = [a for t, a in Tags(account_page(reports)).tags if t == "img"]
        assert len(images) == count
        assert all(len(a["alt"]) > 20 for a in images)


def test_the_approval_the_digest_and_the_time_are_on_the_page() -> None:
    reports = every_report()
    text = Tags(account_page(reports)).text
    assert reports["plan"].digest in text
    assert "Ada" in text
    assert "change 42" in text
    assert "2026-11-24T07:30:00Z" in text


def test_the_fleet_shows_an_account_that_left_no_report_as_unknown_and_not_as_zero() -> None:
    page = pages.fleet_page(
        [("111111111111", "shop", every_report(), "done"), ("222222222222", "bank", {}, "refused")],
        links={"111111111111": "111111111111/report.html"},
        now=NOW,
    )
    assert page.count("href=") == 1
    text = Tags(page).text
    assert "222222222222" in text
    assert "Not simply done: 222222222222" in text
    assert pages.summary({})["instances"] == "unknown"
    assert pages.summary({})["deadline"] == "unknown"


@pytest.mark.parametrize("name", ["ready", "rotated", "scheduled", "verified", "held"])
def test_a_step_that_did_not_run_counts_nothing_rather_than_zero(name: str) -> None:
    assert pages.summary({})[name] == "unknown"
    assert pages.summary(empty_reports())[name] == 0


def test_the_reasons_for_holding_are_summed_up_the_most_frequent_first() -> None:
    assert pages.held_reasons(None) == "no plan"
    assert pages.held_reasons(every_report("stopped")["plan"]).startswith("1: ")


def test_the_fleets_page_says_of_each_folder_how_its_last_walk_ended(tmp_path: Path) -> None:
    for account, record in (("111111111111", '{"code": 0}'), ("222222222222", '{"code": 6}'), ("333333333333", "")):
        (tmp_path / account).mkdir()
        if record:
            (tmp_path / account / "run.json").write_text(record)
    text = runbook.fleet_page(tmp_path).read_text()
    assert "outcome unknown" in text
    assert "stepped through by hand, or not ended" in text
    assert "Not simply done: 222222222222, 333333333333" in text


def test_the_page_over_one_accounts_own_folder_lies_beside_it_and_leaves_its_seal_whole(tmp_path: Path) -> None:
    own = tmp_path / "today"
    kept = folder.RunFolder(own)
    for one in every_report().values():
        kept.keep(one)
    folder.seal(own, now=NOW)
    page = runbook.fleet_page(own)
    assert page == tmp_path / "index.html"
    assert 'href="today/report.html"' in page.read_text()
    assert folder.check(own) == []
