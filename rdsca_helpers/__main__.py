"""The command ``rdsca``: what a person types; everything it does stands in the modules below."""

from __future__ import annotations

import argparse
import shlex
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from . import batch, pages, roots_command, trust_command
from .edge.folder import check
from .errors import RdscaError, UsageError
from .lab import control, servers, wire
from .model import now
from .runbook import approve, fitness

_CODES = (
    "exit codes: 0 done, 1 defect in rdsca, 2 usage, 3 refused before any change, 4 stopped or something unread, "
    "5 changed but not verified, 6 outcome unknown, 7 another run works in the folder, 8 outside the window, "
    "9 evidence damaged, 10 unknown CA root"
)


def main(words: Sequence[str] | None = None) -> int:
    """Run one command and give its exit code; errors are one line that names the thing and the remedy."""
    options = _parser().parse_args(words)
    signal.signal(signal.SIGTERM, _as_interrupt)
    try:
        return int(options.do(options))
    except RdscaError as e:
        print(f"rdsca: {e}", file=sys.stderr)
        return e.code
    except KeyboardInterrupt:
        print("rdsca: interrupted", file=sys.stderr)
        return 4


def _as_interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


def _say(line: str) -> None:
    print(line, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="rdsca",
        description="Moves Amazon RDS databases to a new certificate authority without breaking their clients.",
        epilog=_CODES,
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(metavar="command", required=True)

    def command(name: str, do: Any, text: str) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=text, description=text, epilog=_CODES, allow_abbrev=False)
        made.set_defaults(do=do)
        return made

    lab = command("lab", _lab, "the practice world: start, stop, status, or env (export lines for any AWS tool)")
    lab.add_argument("what", choices=("start", "stop", "status", "env"))
    lab.add_argument("--dir", type=Path, default=Path(".lab/world"), help="its folder (%(default)s)")
    lab.add_argument("--port", type=int, default=0, help="its port on 127.0.0.1; 0 takes a free one")

    run = command("run", _run, "walk the notebooks for one account")
    run.add_argument("--account", required=True, help="AWS account id, 12 digits")
    run.add_argument("--role", help="role to assume in the account, ARN or name")
    _walk_options(run)

    fleet = command("fleet", _fleet, "walk the notebooks for many accounts, then write the fleet's page")
    fleet.add_argument("accounts", help="accounts file as c7n-org has it; what its vars say goes before -p")
    fleet.add_argument("--role", help="role to assume in accounts that name none, ARN or name")
    fleet.add_argument("--workers", type=int, default=4, help="accounts at a time (%(default)s)")
    _walk_options(fleet)

    approval = command("approve", _approve, "bind the digest of a run's plan to your name")
    approval.add_argument("run_dir", help="the account's folder, which holds plan.json")
    approval.add_argument("--by", required=True, help="who approves")
    approval.add_argument("--note", default="", help="change ticket, reason")

    checking = command("check", _check, "check an evidence folder: nothing missing, edited or out of order")
    checking.add_argument("run_dir", type=Path, help="the account's folder, which holds manifest.json")

    trust_command.add_parser(command, _say)
    roots_command.add_parser(command, _say)

    doctor = command("doctor", _doctor, "say what on this machine would hinder a run, and the remedy")
    doctor.add_argument("--profile", default="", help="AWS profile to try")

    demo = command("demo", _demo, "the whole runbook on the practice world (what make demo runs)")
    demo.add_argument("--run-dir", type=Path, default=Path("runs/demo"), help="folder for the evidence (%(default)s)")
    return parser


def _walk_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--profile", help="AWS profile")
    parser.add_argument("--regions", help='"eu-west-1,us-west-2", or "all"')
    parser.add_argument("--run-dir", type=Path, help="folder for the evidence, one folder an account in it (runs/DATE)")
    parser.add_argument("--from", dest="first", default="01", metavar="NN", help="first notebook (%(default)s)")
    parser.add_argument("--to", dest="last", default="07", metavar="NN", help="last notebook (%(default)s)")
    parser.add_argument(
        "-p",
        nargs=2,
        action="append",
        default=[],
        metavar=("NAME", "VALUE"),
        help="any notebook parameter; action is show unless you say -p action apply",
    )


def _values(options: argparse.Namespace) -> dict[str, str]:
    values = dict(options.p)
    for name in ("profile", "regions", "role"):
        if (value := getattr(options, name)) is not None:
            if name in values:
                raise UsageError(f"{name} is given twice: as an option and with -p")
            values[name] = value
    if "account" in values or "run_dir" in values:
        raise UsageError("account and run_dir are no -p parameters here", "use --account and --run-dir")
    return values


def _base(options: argparse.Namespace) -> Path:
    return Path(options.run_dir or f"runs/{now():%Y-%m-%d}")


def _run(options: argparse.Namespace) -> int:
    one = batch.job(
        options.account, base=_base(options), first=options.first, last=options.last, values=_values(options)
    )
    (result,) = batch.walk_all([one], workers=1, say=_say)
    _say(f"\n{_table([result])}\n{one.folder}: {result.state}")
    return result.code


def _fleet(options: argparse.Namespace) -> int:
    if options.workers < 1:
        raise UsageError(f"--workers takes a whole number from 1, not {options.workers}")
    entries = batch.accounts(options.accounts)
    jobs = batch.fleet_jobs(
        entries, base=_base(options), first=options.first, last=options.last, values=_values(options)
    )
    code, results, page = batch.fleet(jobs, workers=options.workers, say=_say)
    _say(f"\n{_table(results)}\n{page}")
    return code


def _demo(options: argparse.Namespace) -> int:
    from .demo import demo  # noqa: PLC0415  only the demonstration needs it

    code, results, page = demo(options.run_dir, say=_say)
    _say(f"\n{_table(results)}\n")
    if code == 0 and any(r.code for r in results):
        _say("Some rows say unread or held: one account denies a region on purpose, and not every practice")
        _say("instance has a database behind it. A run on real accounts would end with exit code 4 here.")
    _say(f"The page of all accounts: {page}")
    return code


def _approve(options: argparse.Namespace) -> int:
    plan = approve(options.run_dir, by=options.by, note=options.note)
    _say(
        f"plan {plan.digest} approved by {options.by}, good until {plan.expires_at:%Y-%m-%d %H:%M} UTC\n{plan.meaning}"
    )
    return 0


def _check(options: argparse.Namespace) -> int:
    faults = check(options.run_dir)
    for fault in faults:
        print(f"rdsca: {options.run_dir}: {fault}", file=sys.stderr)
    if not faults:
        _say(f"{options.run_dir}: whole and unchanged since it was sealed")
    return 9 if faults else 0


def _doctor(options: argparse.Namespace) -> int:
    checks = fitness(options.profile)
    for one in checks:
        _say(f"{'ok  ' if one.good else 'FAIL'} {one.what}: {one.seen}{'' if one.good else f'; {one.remedy}'}")
    for kind in ("postgres", "mariadb", "mysql"):
        why = servers.why_missing(kind)
        _say(f"{'note' if why else 'ok  '} practice {kind}: {why or 'found'}")
    for kind in wire.STAND_INS:
        _say(f"ok   practice {kind}: a stand-in, for want of the real one")
    return 0 if all(one.good for one in checks) else 4


def _lab(options: argparse.Namespace) -> int:
    if options.what == "start":
        found = control.start(options.dir, options.port, say=lambda line: print(line, file=sys.stderr, flush=True))
        _say(f'the practice world answers at {found["url"]}; point a shell at it with: eval "$(rdsca lab env)"')
    elif options.what == "stop":
        _say("stopped" if control.stop(options.dir) else "no practice world was running")
    elif options.what == "env":
        for name, value in control.environment(options.dir).items():
            _say(f"export {name}={shlex.quote(value)}")
    else:
        status = control.status(options.dir)
        if status is None:
            _say("no practice world runs here")
            return 4
        _say(f"the practice world answers at {status['url']}, process {status['pid']}")
        for server in status["children"]:
            _say(f"{server['kind']} {server['version']} behind {server['instance']}, port {server['port']}")
    return 0


_COLUMNS = ("account", "name", "instances", "deadline", "rotated", "scheduled", "verified", "held", "held and why")


def _table(results: Sequence[batch.Result]) -> str:
    """Write the table that ends a walk: a line for each account."""
    rows: list[tuple[str, ...]] = [_COLUMNS]
    for result in results:
        found = result.reports
        counts = {k: str(v) for k, v in pages.summary(found).items()}
        why = pages.held_reasons(found.get("plan"))  # type: ignore[arg-type]
        own = {"account": result.job.account, "name": result.job.name, "held and why": why, **counts}
        rows.append(tuple(own[c] for c in _COLUMNS))
    widths = [max(len(row[n]) for row in rows) for n in range(len(_COLUMNS) - 1)]
    return "\n".join("  ".join([*(c.ljust(w) for c, w in zip(row, widths, strict=False)), row[-1]]) for row in rows)


if __name__ == "__main__":
    sys.exit(main())
