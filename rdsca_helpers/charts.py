"""Pictures for what people would rather look at than read: deadlines, the CA mix, who uses TLS, before and after."""

from __future__ import annotations

import base64
import html
import io
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .model import (
    Confidence,
    Inventory,
    Plan,
    ProofReport,
    ProofVerdict,
    SessionReport,
    Sessions,
    StoreVerdict,
    Trust,
    Urgency,
)
from .tables import plain

if TYPE_CHECKING:  # matplotlib takes a quarter of a second to import; only those who draw wait for it
    from matplotlib.axes import Axes

_URGENCY = {
    Urgency.EXPIRED: "#8b1a1a",
    Urgency.RETIRED_CA: "#c2410c",
    Urgency.DAYS_30: "#dc6803",
    Urgency.DAYS_90: "#e6a700",
    Urgency.DAYS_180: "#8aa329",
    Urgency.OK: "#2f855a",
    Urgency.UNKNOWN: "#8a8f98",
}
_CAS = {
    "rds-ca-rsa2048-g1": "#2b6cb0",
    "rds-ca-rsa4096-g1": "#2f855a",
    "rds-ca-ecc384-g1": "#805ad5",
    "rds-ca-2019": "#c2410c",
    "unknown": "#8a8f98",
}
_VERDICTS = {
    **dict.fromkeys(("ready", "both"), "#2f855a"),
    **dict.fromkeys(("pin-only", "not-verifying", "unknown"), "#e6a700"),
    **dict.fromkeys(("old-only", "wrong-region", "public-only", "empty-for-java"), "#c2410c"),
    **dict.fromkeys(("unreadable-by-client", "unknown-ca"), "#8b1a1a"),
}
_MOST = 120  # rows in one picture; more can neither be looked at nor written as PNG
_SESSIONS = {"TLS": "#2b6cb0", "unknown": "#e6a700", "plain": "#7b8494"}


@dataclass(frozen=True)
class Picture:
    """A PNG with the text that stands for it where it cannot be seen."""

    png: bytes
    alt: str

    @property
    def base64(self) -> str:
        """The PNG as it stands in HTML and in notebooks."""
        return base64.b64encode(self.png).decode("ascii")

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        """Show in a notebook, as HTML: nbconvert drops the alternative text of a plain PNG."""
        img = f'<img alt="{html.escape(self.alt)}" src="data:image/png;base64,{self.base64}">'
        return {"text/html": img, "text/plain": self.alt}


def deadlines(report: Inventory) -> Picture:
    """Draw when each instance's server certificate ends, soonest on top; those without a date stand at the edge."""
    found = sorted(
        (r for r in report.rows if not r.skip_reason),
        key=lambda r: (r.cert_expires is None, r.cert_expires or report.made_at, r.instance),
    )
    rows = found[:_MOST]

    from matplotlib.dates import date2num  # noqa: PLC0415

    def draw(ax: Axes) -> None:
        last = max((r.cert_expires for r in rows if r.cert_expires), default=report.made_at)
        today = date2num(report.made_at)  # type: ignore[no-untyped-call]
        for y, row in enumerate(rows):
            when = date2num(row.cert_expires or last)  # type: ignore[no-untyped-call]
            ax.plot([today, when], [y, y], color=_URGENCY[row.urgency], lw=1.2, alpha=0.5)
            ax.plot([when], [y], "o" if row.cert_expires else "x", color=_URGENCY[row.urgency], ms=5)
        ax.xaxis_date()
        ax.axvline(today, color="#111827", lw=1)
        ax.annotate("today", (today, -0.9), fontsize=8, ha="center", annotation_clip=False)
        ax.set_yticks(range(len(rows)), [f"{r.instance} · {r.region}" for r in rows], fontsize=8)
        ax.set_ylim(max(len(rows), 1) - 0.4, -0.6)
        ax.grid(axis="x", color="#e5e7eb")
        ax.tick_params(axis="x", labelsize=8)
        ax.set_xlabel("end of the server certificate (x: AWS gave no date)", fontsize=8)
        used = [u for u in Urgency if any(r.urgency is u for r in rows)]
        for u in used:
            ax.plot([], [], "o", color=_URGENCY[u], label=u.value)
        if used:
            ax.legend(fontsize=8, frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))

    count = Counter(r.urgency.value for r in found)
    words = ", ".join(f"{n} {u}" for u, n in count.items())
    alt = f"Timeline of {len(found)} server certificates by end date{_cut(found)}: {words}"
    return _picture(draw, alt, high=1 + 0.22 * len(rows))


def ca_mix(report: Inventory) -> Picture:
    """Draw how many instances are on which CA, region by region."""
    rows = [r for r in report.rows if not r.skip_reason]
    regions = sorted({r.region for r in rows})
    counts = {
        ca: [sum(1 for r in rows if (r.ca or "unknown") == ca and r.region == g) for g in regions] for ca in _cas(rows)
    }
    return _bars(regions, counts, _CAS, f"CA mix of {len(rows)} instances in {len(regions)} region(s)", "instances")


def sessions(report: SessionReport) -> Picture:
    """Draw TLS, plain and unknown sessions of each instance, most exposed on top, those that told nothing at the end.

    Behind each bar stands how much of the truth it is: an empty row is one where nothing was seen, or nothing told.
    """
    found = sorted(report.rows, key=lambda r: (not r.counted, -r.exposed, -(r.plain or 0), r.region, r.instance))
    rows = found[:_MOST]
    counts = {
        "TLS": [r.tls for r in rows],
        "unknown": [r.unknown for r in rows],
        "plain": [r.plain for r in rows],
    }
    told = sum(1 for r in found if r.counted)
    title = f"Sessions by TLS use on {told} of {len(found)} instance(s){_cut(found)}; {len(found) - told} unknown"
    labels = [f"{r.instance} · {r.region}" for r in rows]
    return _bars(labels, counts, _SESSIONS, title, "sessions", notes=[_sureness(r) for r in rows])


def _sureness(row: Sessions) -> str:
    """Say in a word how much of the truth the bar of *row* shows."""
    if not row.counted:
        return "unknown: not asked, or not told"
    seen = "" if row.exposed or row.plain else "nobody seen"
    partial = "" if row.confidence is Confidence.FULL else "not all could be seen"
    return ", ".join(filter(None, (seen, partial)))


def before_after(plan: Plan, proof: ProofReport | None) -> Picture:
    """Draw the mix of CAs before, as planned, and as verified; what was not verified counts with its old CA."""
    rows = [r for r in plan.rows if r.from_ca or r.verdict.value != "skipped"]
    good = {(p.region, p.instance) for p in proof.rows if p.verdict is ProofVerdict.VERIFIED} if proof else set()
    before = Counter(r.from_ca or "unknown" for r in rows)
    planned = Counter(r.to_ca if r.verdict.value == "ready" else r.from_ca or "unknown" for r in rows)
    after = Counter(r.to_ca if (r.region, r.instance) in good else r.from_ca or "unknown" for r in rows)
    counts = {ca: [c[ca] for c in (before, planned, after)] for ca in sorted({*before, *planned, *after})}
    title = f"CA mix of {len(rows)} rows before, as planned and as verified"
    return _bars(["before", "planned", "verified"], counts, _CAS, title, "instances")


def trust(report: Trust) -> Picture:
    """Draw the verdicts as a matrix: a row for each store and those who read it, a column for each region.

    When this step has added roots, the matrix as it was stands to the left of the one as it is.
    """
    readers = list(dict.fromkeys(_reader(r) for r in report.rows))
    regions = sorted({r.region for r in report.rows})
    shown = readers[:_MOST]
    after = {(_reader(r), r.region): plain(r.verdict, most=24) for r in report.rows}
    before = {(_reader(r), r.region): plain(r.before or r.verdict, most=24) for r in report.rows}
    panels = [("before", before), ("after", after)] if before != after else [("", after)]

    def draw(ax: Axes) -> None:
        from matplotlib.patches import Rectangle  # noqa: PLC0415

        ticks: list[tuple[float, str]] = []
        for number, (when, cells) in enumerate(panels):
            for column, region in enumerate(regions):
                x = number * (len(regions) + 0.4) + column
                ticks.append((x, f"{region}\n{when}" if when else region))
                for y, reader in enumerate(shown):
                    verdict = cells.get((reader, region), "unknown")
                    color = _VERDICTS.get(verdict, "#8a8f98")
                    ax.add_patch(Rectangle((x - 0.48, y - 0.45), 0.96, 0.9, color=color))
                    word = verdict.replace("-by-", "\nby ")
                    ax.text(x, y, word, color="white", ha="center", va="center", fontsize=7, parse_math=False)
        ax.set_xlim(-0.6, max((x for x, _ in ticks), default=0) + 0.6)
        ax.set_ylim(max(len(shown), 1) - 0.4, -0.6)
        ax.set_xticks([x for x, _ in ticks], [text for _, text in ticks], fontsize=8)
        ax.set_yticks(range(len(shown)), shown, fontsize=8, parse_math=False)  # a path may hold dollar signs
        ax.xaxis.tick_top()
        ax.tick_params(length=0)
        for side in ("left", "bottom"):
            ax.spines[side].set_visible(False)

    words = "; ".join(
        f"{when}{': ' if when else ''}{reader}: "
        + ", ".join(f"{g} {cells.get((reader, g), 'unknown')}" for g in regions)
        for when, cells in panels
        for reader in shown
    )
    title = f"{len(readers)} reader(s) of trust stores in {len(regions)} region(s){_cut(readers)}"
    wide = 3 + 1.2 * len(regions) * len(panels)
    return _picture(draw, f"{title}. {words}", high=1.2 + 0.34 * len(shown), wide=wide)


def _reader(row: StoreVerdict) -> str:
    """Name who reads a store: the file's name, with the client where the clients file names one, else the family."""
    folder, _, name = row.store.rstrip("/").rpartition("/")
    shown = name if len(name) > 12 else f"{folder.rpartition('/')[2]}/{name}".lstrip("/")
    return f"{plain(shown, most=40)} · {plain(row.client or row.family, most=30)}"


def _cut(found: Sequence[Any]) -> str:
    return f", the first {_MOST} drawn" if len(found) > _MOST else ""


def _cas(rows: Sequence[Any]) -> list[str]:
    return sorted({r.ca or "unknown" for r in rows})


def _bars(
    labels: Sequence[str],
    counts: Mapping[str, Sequence[int | None]],
    colors: Mapping[str, str],
    title: str,
    unit: str,
    *,
    notes: Sequence[str] = (),
) -> Picture:
    """Draw a bar for each of *labels*, made up of *counts*, with a word from *notes* behind it.

    A count that is ``None`` was not told: it has no length, and the words say so.
    """
    from matplotlib.ticker import MaxNLocator  # noqa: PLC0415

    def draw(ax: Axes) -> None:
        lengths = {name: [count or 0 for count in values] for name, values in counts.items()}
        left = [0] * len(labels)
        ax.barh(labels, left)  # names every row, also one that has nothing to draw
        longest = max([1, *map(sum, zip(*lengths.values(), strict=True))])
        ax.set_xlim(0, longest * (1.3 if any(notes) else 1))  # a note needs room behind the longest bar
        for name, values in lengths.items():
            if any(values):
                bars = ax.barh(labels, values, left=left, color=colors.get(name, "#4a5568"), label=name, height=0.6)
                ax.bar_label(
                    bars, [str(v) if v else "" for v in values], label_type="center", color="white", fontsize=8
                )
            left = [a + b for a, b in zip(left, values, strict=True)]
        for y, (end, note) in enumerate(zip(left, notes, strict=False)):
            ax.annotate(note, (end, y), (5, 0), textcoords="offset points", va="center", fontsize=8, color="#6b7280")
        ax.invert_yaxis()
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.tick_params(labelsize=8)
        ax.set_xlabel(unit, fontsize=8)
        ax.set_title(title, fontsize=9, loc="left")
        if any(map(any, lengths.values())):
            ax.legend(fontsize=8, frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))

    words = "; ".join(
        f"{n}: " + ", ".join(f"{lab} {'not told' if v is None else v}" for lab, v in zip(labels, vs, strict=True))
        for n, vs in counts.items()
    )
    said = "".join(f"; {lab}: {note}" for lab, note in zip(labels, notes, strict=False) if note)
    return _picture(draw, f"{title}. {words}{said}", high=1.1 + 0.34 * len(labels))


def _picture(draw: Callable[[Axes], None], alt: str, *, high: float, wide: float = 9) -> Picture:
    from matplotlib.figure import Figure  # noqa: PLC0415  without pyplot: no global state, no window, thread-safe

    figure = Figure(figsize=(min(max(wide, 9), 40), max(high, 1.6)), layout="constrained")
    ax = figure.subplots()
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    draw(ax)
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=110, metadata={"Software": "rdsca"})
    return Picture(out.getvalue(), alt)
