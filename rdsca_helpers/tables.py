"""Reports as tables: the columns a person reads, in a pandas Styler that lets no text become markup."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any
from unicodedata import category

from .model import Report, SessionReport, to_json

if TYPE_CHECKING:  # pandas takes a third of a second to import; only those who show a table wait for it
    import pandas as pd
    from pandas.io.formats.style import Styler

COLUMNS = {
    "inventory": (
        "region instance engine engine_version kind status ca cert_expires urgency restart pending_ca skip_reason"
    ),
    "sessions": "region instance tls plain unknown confidence source remedy",
    "trust": "store region ca family verdict reason backup",
    "plan": "wave region instance verdict reason from_ca to_ca when window_utc restart rollback",
    "rotation": "wave region instance status detail request_id",
    "proof": "region instance verdict detail api_ca wire_ca wire_expires tls_version sessions_before sessions_after",
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
    **dict.fromkeys(("90d", "held", "unknown", "partial", "listener", "scheduled", "staged", "180d"), "warn"),
    **dict.fromkeys(("ok", "ready", "both", "done", "verified", "rotated", "full"), "good"),
    **dict.fromkeys(("skipped", "none"), "quiet"),
}
_TONED = ("urgency", "verdict", "status", "confidence", "restart")
SENTENCE = 4000  # characters of a report's meaning: it names instances and clients, and is cut only in an attack
_ORDER = {
    "inventory": ("skip_reason", "cert_expires", "region", "instance"),
    "sessions": ("confidence", "region", "instance"),
    "plan": ("wave", "verdict", "region", "instance"),
}
_RANK = ("ready", "held", "done", "skipped", "full", "partial", "none")  # what asks for attention first
_UNSEEN = ("Cc", "Cf", "Cs", "Zl", "Zp")  # Unicode's controls, formats (bidi, zero width), surrogates, separators


def plain(text: Any, *, most: int = 300) -> str:
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
    return plain(value)


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
    """Print what *report* means, and what in it could not be read."""
    print(plain(report.meaning, most=SENTENCE))
    if report.problems:
        print(f"{len(report.problems)} thing(s) could not be read or done; each stands below with its remedy.")


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


def clients(report: SessionReport) -> Styler:
    """Show who was connected to which instance, a row for each user, host and program."""
    return _styled(*client_cells(report))


def client_cells(report: SessionReport) -> tuple[list[str], list[dict[str, str]]]:
    """Give columns and rows of the clients; TLS says yes, no or unknown."""
    columns = ["instance", "user", "host", "program", "tls", "version", "cipher", "count"]
    words = {True: "yes", False: "no", None: "unknown"}
    rows = [
        {"instance": plain(row.instance), **{k: plain(v) for k, v in to_json(c).items()}, "tls": words[c.tls]}
        for row in report.rows
        for c in row.clients
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
        space = "normal" if data[column].map(len).gt(24).any() else "nowrap"
        styled = styled.set_properties(subset=[column], **{"white-space": space})
    look = [
        {"selector": "td", "props": "text-align: left; vertical-align: top; max-width: 34em"},
        {"selector": "th", "props": "text-align: left"},
    ]
    return styled.set_table_styles(look)  # type: ignore[arg-type]
