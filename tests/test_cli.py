"""The command `rdsca` as a person types it, and every command that the README names."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import RunningLab, Walk, rdsca, typed

from rdsca_helpers.__main__ import _CODES, _parser
from rdsca_helpers.lab import processes
from rdsca_helpers.lab.seed import BILLING, SHOP

ROOT = Path(__file__).parent.parent
BLOCKS = re.findall(r"^```sh\n(.*?)^```", (ROOT / "README.md").read_text(), re.S | re.M)
TYPED = [shlex.split(line, comments=True) for block in BLOCKS for line in block.splitlines() if line.strip()]
TYPED += [shlex.split(found) for found in re.findall(r"`(rdsca [^`]*--[^`]*)`", (ROOT / "README.md").read_text())]


def test_every_rdsca_command_in_the_readme_is_one_that_the_program_takes() -> None:
    commands = [words[1:] for words in TYPED if words[0] == "rdsca"]
    assert len(commands) >= 6
    for words in commands:
        assert callable(_parser().parse_args(words).do), words
    assert "rdsca lab env" in [w for words in TYPED if words[0] == "eval" for w in re.findall(r"rdsca[^)]*", words[1])]


def test_every_make_target_and_notebook_that_the_readme_names_is_there() -> None:
    text = (ROOT / "README.md").read_text()
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.M))
    assert set(re.findall(r"make ([a-z]+)", text)) <= targets
    for name in set(re.findall(r"`(\d\d-[a-z-]+)`", text)):
        assert (ROOT / f"notebooks/{name}.ipynb").exists(), name


def test_help_names_every_command_and_every_exit_code() -> None:
    done = rdsca("--help", COLUMNS="200")
    assert done.code == 0
    for word in ("lab", "run", "fleet", "approve", "check", "doctor", "demo"):
        assert re.search(rf"^ +{word} ", done.out, re.M), word
    assert _CODES in re.sub(r"\s+", " ", done.out)


@pytest.mark.parametrize("words", [[], ["rotate"], ["run"], ["run", "--accounts", SHOP], ["lab", "restart"]])
def test_a_command_that_does_not_exist_or_lacks_a_word_is_exit_2(words: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        _parser().parse_args(words)
    assert ended.value.code == 2


def test_the_practice_world_starts_answers_and_stops_and_leaves_no_process(tmp_path: Path) -> None:
    words = ["--dir", str(tmp_path / "world")]
    assert typed("lab", "status", *words).code == 4
    assert typed("lab", "env", *words).code == 4
    started = rdsca("lab", "start", *words)
    assert started.code == 0, started.err
    state = json.loads((tmp_path / "world/lab.json").read_text())
    try:
        assert state["url"] in started.out
        assert typed("lab", "start", *words).out == started.out  # the one that runs
        status = typed("lab", "status", *words)
        assert (status.code, str(state["pid"]) in status.out) == (0, True)
        exports = typed("lab", "env", *words)
        script = f"{exports.out}\nenv -0"
        shown = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True).stdout
        env = dict(pair.split("=", 1) for pair in shown.split("\0") if "=" in pair)
        assert env["AWS_PROFILE"] == "lab"
        who = "import boto3; print(boto3.client('sts').get_caller_identity()['Account'])"
        asked = subprocess.run([sys.executable, "-c", who], capture_output=True, text=True, check=True, env=env)
        assert asked.stdout.strip() == SHOP
    finally:
        stopped = typed("lab", "stop", *words)
    assert stopped.out == "stopped\n"
    assert not processes.runs(state["pid"], state["started"])
    assert not Path(state["temporary"]).exists()
    assert typed("lab", "stop", *words).out == "no practice world was running\n"


def test_doctor_finds_this_machine_fit_for_the_practice_world(lab: RunningLab) -> None:
    done = typed("doctor", "--profile", "lab")
    assert done.code == 0, done.out
    assert f"AWS profile 'lab': answers as arn:aws:iam::{SHOP}" in done.out
    assert "FAIL" not in done.out


def test_doctor_says_what_hinders_and_what_to_do(tmp_path: Path) -> None:
    done = rdsca("doctor", "--profile", "nobody", AWS_CONFIG_FILE=str(tmp_path / "none"), AWS_PROFILE="")
    assert done.code == 4
    assert "FAIL AWS profile 'nobody': there is no AWS profile 'nobody'; see the names with" in done.out


def test_a_run_an_approval_and_a_second_run_move_one_account(walked: Walk) -> None:
    plan, approval, rotate = (walked.steps[k] for k in ("plan", "approve", "rotate"))
    assert plan.code == 4, plan.out + plan.err  # not every practice instance has a database that could be asked
    assert (approval.code, rotate.code) == (0, 0), approval.err + rotate.out + rotate.err
    digest = json.loads((walked.folder / "plan.json").read_text())["digest"]
    assert f"plan {digest} approved by the tests" in approval.out
    proof = json.loads((walked.folder / "proof.json").read_text())
    assert {r["verdict"] for r in proof["rows"]} == {"verified"}
    assert {r["wire_ca"] for r in proof["rows"]} == {"rds-ca-rsa4096-g1"}
    assert "orders-db" in {r["instance"] for r in proof["rows"]}
    table = rotate.out.strip().splitlines()[-3:]
    assert table[0].split()[:3] == ["account", "name", "instances"]
    assert table[1].startswith(SHOP)
    assert table[2].startswith(f"{walked.folder}: done")


def test_check_passes_a_walked_folder(walked: Walk) -> None:
    done = typed("check", str(walked.folder))
    assert (done.code, done.err) == (0, "")
    assert "whole and unchanged" in done.out


def test_check_finds_a_changed_byte_in_any_file_and_one_that_is_missing_or_new(walked: Walk, tmp_path: Path) -> None:
    from rdsca_helpers import check

    copy = tmp_path / "copy"
    shutil.copytree(walked.folder, copy)
    files = sorted(p for p in copy.rglob("*") if p.is_file())
    assert {"journal.jsonl", "plan.json", "approval.json", "run.json", "report.html", "05-rotate.ipynb"} <= {
        p.name for p in files
    }
    for file in files:
        whole = file.read_bytes()
        for place in (0, len(whole) // 2, len(whole) - 1):
            changed = bytearray(whole)
            changed[place] ^= 1
            file.write_bytes(changed)
            assert check(copy), f"{file.name}, byte {place}"
        file.write_bytes(whole)
    assert check(copy) == []
    (copy / "more.txt").write_text("x")
    assert check(copy) == ["more.txt is not in the manifest"]
    (copy / "more.txt").unlink()
    (copy / "plan.json").unlink()
    done = typed("check", str(copy))
    assert done.code == 9
    assert "plan.json is missing" in done.err


def test_check_of_a_folder_that_was_never_sealed_is_exit_2(tmp_path: Path) -> None:
    done = typed("check", str(tmp_path))
    assert done.code == 2
    assert "has no manifest.json; run 07-evidence" in done.err


def test_an_approval_needs_a_plan_and_a_name(walked: Walk, tmp_path: Path) -> None:
    nothing = typed("approve", str(tmp_path), "--by", "Jo")
    assert nothing.code == 3
    assert "plan.json is missing; run 04-plan" in nothing.err
    shutil.copy(walked.folder / "plan.json", tmp_path)
    nobody = typed("approve", str(tmp_path), "--by", " ")
    assert nobody.code == 2
    assert not (tmp_path / "approval.json").exists()


def test_a_fleet_is_walked_and_its_page_names_every_account(lab: RunningLab, tmp_path: Path) -> None:
    base = tmp_path / "runs"
    done = rdsca("fleet", str(lab.folder / "accounts.yml"), "--run-dir", str(base), "--to", "01", "--workers", "2")
    assert done.code == 4, done.out + done.err  # one account denies a region
    page = (base / "index.html").read_text()
    for account in (SHOP, BILLING, "333333333333"):
        assert account in page
        assert (base / account / "run.json").exists()
    assert done.out.rstrip().endswith("index.html")
