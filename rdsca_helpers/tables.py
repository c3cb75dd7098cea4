"""Reports as tables: the columns a person reads, in a pandas Styler that lets no text become markup."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any
from unicodedata import category

from . import drivers
from .model import ParameterReport, ProofReport, Report, SessionReport, Trust, to_json

if TYPE_CHECKING:  # pandas takes a third of a second to import; only those who show a table wait for it
    import pandas as pd
    from pandas.io.formats.style import Styler

COLUMNS = {
    "inventory": (
        "region instance engine engine_version kind status ca cert_expires urgency restart pending_ca skip_reason"
    ),
    "sessions": "region instance tls plain unknown confidence source evidence remedy",
    "trust": "store client family region verdict before reason replay",
    "plan": "wave region instance verdict reason from_ca to_ca when window_utc restart rollback",
    "rotation": "wave region instance status detail request_id",
    "proof": "region instance verdict detail api_ca wire_ca wire_expires tls_version sessions_before sessions_after",
    "parameters": "region instance group present status detail shared_with window_utc request_id",
}
# Colour helps the eye; the word in the cell says it all without colour.
_TONES = {
    "bad": "background-color: #fbe3e1",
    "warn": "background-color: #fdf1d3",
    "good": "background-color: #e2f2e4",
    "quiet": "color: #6b7280",
}
_TONE_OF = {
    **dict.fromkeys(("expired", "retired-ca", "30d", "failed", "refused", "drift", "old-only", "restart"), "bad"),
    **dict.fromkeys(("wrong-region", "unknown-ca", "pin-only", "public-only", "unreadable-by-client"), "bad"),
    **dict.fromkeys(("empty-for-java", "not-verifying"), "bad"),
    **dict.fromkeys(("90d", "held", "unknown", "partial", "listener", "scheduled", "staged", "180d"), "warn"),
    **dict.fromkeys(("ok", "ready", "both", "done", "verified", "rotated", "changed", "full"), "good"),
    **dict.fromkeys(("skipped", "none"), "quiet"),
}
_TONED = ("urgency", "verdict", "status", "confidence", "restart")
ENDPOINT = "your-endpoint.rds.amazonaws.com"  # stands for the host in lines of advice
SENTENCE = 4000  # characters of a report's meaning: it names instances and clients, and is cut only in an attack
_CELL, _REMEDY = 300, 900  # characters of a cell; a remedy that is cut helps nobody
_ORDER = {
    "inventory": ("skip_reason", "cert_expires", "region", "instance"),
    "sessions": ("confidence", "region", "instance"),
    "plan": ("wave", "verdict", "region", "instance"),
}
_RANK = ("ready", "held", "done", "skipped", "full", "partial", "none")  # what asks for attention first
_UNSEEN = ("Cc", "Cf", "Cs", "Zl", "Zp")  # Unicode's controls, formats (bidi, zero width), surrogates, separators


def plain(text: Any, *, most: int = _CELL) -> str:
    """Make any text harmless to look at: control, bidi and invisible characters as escapes, and not too long."""
    start = str(text)[: most + 1]
    shown = "".join(f"\\u{ord(c):04x}" if category(c) in _UNSEEN else c for c in start)
    return shown if len(shown) <= most else shown[:most] + "…"


def cells(report: Report[Any]) -> tuple[list[str], list[dict[str, str]]]:
    """Give the columns and rows that a person reads, as text, sorted so that what presses comes first."""
    columns = COLUMNS[report.kind].split()
    rows = [to_json(row) for row in report.rows]
    rows.sort(key=lambda row: [_sortable(row.get(name)) for name in _ORDER.get(report.kind, ())])
    return columns, [{name: _text(name, row.get(name, "")) for name in columns} for row in rows]


def tone(column: str, text: str) -> str:
    """Name the tone of a cell: bad, warn, good, quiet, or nothing."""
    return _TONE_OF.get(text, "") if column in _TONED else ""


def _text(column: str, value: Any) -> str:
    if column.endswith("_expires") and value != "unknown":
        return str(value)[:10]
    if column == "window_utc":
        return " to ".join(part[:16].replace("T", " ") for part in str(value).split("/"))
    if column == "wave" and value == "unknown":
        return ""
    if isinstance(value, list):
        value = ", ".join(value)
    return plain(value, most=_REMEDY if column == "remedy" else _CELL)


def _sortable(value: Any) -> tuple[bool, str]:
    if value in _RANK:
        value = _RANK.index(value)
    return (value == "unknown", f"{value:06d}" if isinstance(value, int) else str(value))


def frame(report: Report[Any]) -> pd.DataFrame:
    """Give all rows and all columns of *report* as a DataFrame, for those who want to go on with pandas."""
    import pandas as pd  # noqa: PLC0415

    return pd.DataFrame([to_json(row) for row in report.rows])


def table(report: Report[Any]) -> Styler:
    """Show *report* as a table: what presses first, every text escaped."""
    columns, rows = cells(report)
    return _styled(columns, rows)


def problems(report: Report[Any]) -> Styler:
    """Show what could not be read or done, and the remedy."""
    shown = _styled(*problem_cells(report))
    return shown if report.problems else shown.set_caption("All that was asked for could be read and done.")


def problem_cells(report: Report[Any]) -> tuple[list[str], list[dict[str, str]]]:
    """Give columns and rows of what could not be read or done."""
    rows = [{"where": plain(p.where), "what": plain(p.what), "remedy": plain(p.remedy)} for p in report.problems]
    return ["where", "what", "remedy"], rows


def meaning(report: Report[Any]) -> None:
    """Print what *report* means, and what in it could not be read.

    It is broken into lines here, for HTML breaks a long one in the middle of a word.
    """
    print(textwrap.fill(plain(report.meaning, most=SENTENCE), 110))
    if report.problems:
        print(f"{len(report.problems)} thing(s) could not be read or done; each stands below with its remedy.")


def commands(report: ParameterReport) -> None:
    """Print the AWS CLI lines that make the same changes, for the change ticket or to be run by hand."""
    for row in report.rows:
        print(f"# {plain(row.instance)}: {row.status}", *(plain(line, most=SENTENCE) for line in row.cli), sep="\n")


def checklist(checks: Iterable[Any]) -> Styler:
    """Show what :func:`fitness` looked at."""
    rows = [
        {
            "what": c.what,
            "verdict": "ok" if c.good else "failed",
            "seen": plain(c.seen),
            "remedy": "" if c.good else c.remedy,
        }
        for c in checks
    ]
    return _styled(["what", "verdict", "seen", "remedy"], rows)


def additions(report: Trust) -> Styler:
    """Show what was added to which store, or would be with ``action="apply"``: a row for each root."""
    columns, rows = addition_cells(report)
    shown = _styled(columns, rows)
    return shown if rows else shown.set_caption("Nothing is missing that this step could add.")


def addition_cells(report: Trust) -> tuple[list[str], list[dict[str, str]]]:
    """Give columns and rows of the roots that were or would be added, each once for each store."""
    columns = ["store", "format", "region", "root", "SHA-256", "status", "backup"]
    rows = {
        (row.store, sha256): {
            **{k: plain(getattr(row, k)) for k in ("store", "format", "region", "root", "backup")},
            "SHA-256": sha256,
            "status": word,
        }
        for row in report.rows
        for word, hashes in (("added", row.added_sha256), ("would be added", row.missing_sha256))
        for sha256 in hashes
    }
    return columns, list(rows.values())


def advice(report: Trust) -> Styler:
    """Show how each client verifies chain and name with its store: those of the clients file, else every driver."""
    return _styled(*advice_cells(report))


def advice_cells(report: Trust) -> tuple[list[str], list[dict[str, str]]]:
    """Give columns and rows of the advice: a row for each client, or for each driver that reads the stores' formats."""
    known = {(r.client, r.driver, r.store) for r in report.rows if r.driver}
    if not known:
        first = {r.format: r.store for r in reversed(report.rows)}
        known = {("", d.name, first[f]) for d in drivers.DRIVERS.values() for f in d.formats[::-1] if f in first}
    rows = []
    for client, driver, store in sorted(known):
        said = drivers.advice(driver, plain(store), ENDPOINT)  # which refuses what cannot be printed
        rows.append(
            {
                "client": plain(client),
                "driver": driver,
                "store": plain(store),
                "verifies with": plain("  ".join(said.lines), most=600),
                "traps": plain(" ".join(said.traps), most=900),
                "after a change": plain(said.restart),
            }
        )
    return ["client", "driver", "store", "verifies with", "traps", "after a change"], rows


def clients(report: SessionReport) -> Styler:
    """Show who was connected to which instance, a row for each user, host and program."""
    return _styled(*client_cells(report))


def client_cells(report: SessionReport) -> tuple[list[str], list[dict[str, str]]]:
    """Give columns and rows of the clients; TLS says yes, no or unknown."""
    columns = ["region", "instance", "user", "host", "program", "tls", "version", "cipher", "count"]
    words = {True: "yes", False: "no", None: "unknown"}
    rows = [
        {
            "region": plain(row.region),
            "instance": plain(row.instance),
            **{k: plain(v) for k, v in to_json(c).items()},
            "tls": words[c.tls],
        }
        for row in report.rows
        for c in row.clients
    ]
    return columns, rows


def rejected(report: ProofReport) -> Styler:
    """Show the clients that reject the certificate or lost their encryption, and where nobody could tell."""
    shown = _styled(*rejected_cells(report))
    blind = [row.instance for row in report.rows if not row.rejections_read]
    words = f"Where rejections could not be looked for: {plain(', '.join(blind))}." if blind else ""
    return shown.set_caption(words or "Every instance was looked at; a client that is not here was not seen to reject.")


def rejected_cells(report: ProofReport) -> tuple[list[str], list[dict[str, str]]]:
    """Give columns and rows of the clients that reject the certificate or lost their encryption."""
    columns = ["instance", "host", "user", "program", "reason", "count", "last", "source"]
    rows = [
        {"instance": plain(row.instance), **{k: plain(v) for k, v in to_json(r).items()}}
        for row in report.rows
        for r in row.rejected
    ]
    return columns, rows


def _styled(columns: Iterable[str], rows: list[dict[str, str]]) -> Styler:
    import pandas as pd  # noqa: PLC0415

    data = pd.DataFrame(rows, columns=list(columns))
    styled = data.style.hide(axis="index").format(escape="html")
    for column in data.columns:
        if column in _TONED:
            styled = styled.map(lambda text, c=column: _TONES.get(tone(c, text), ""), subset=[column])
    for column in data.columns:
        longest = data[column].map(len).max() if len(data) else 0
        look = {"white-space": "normal" if longest > 24 else "nowrap"} | ({"min-width": "16em"} if longest > 60 else {})
        styled = styled.set_properties(subset=[column], **look)
    styles = [
        {
            "selector": "td",
            "props": "text-align: left; vertical-align: top; max-width: 34em; overflow-wrap: break-word",
        },
        {"selector": "th", "props": "text-align: left"},
    ]
    return styled.set_table_styles(styles)  # type: ignore[arg-type]
