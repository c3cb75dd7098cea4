"""Pictures for what people would rather look at than read: deadlines, the CA mix, who uses TLS, before and after."""

from __future__ import annotations

import base64
import html
import io
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .model import Inventory, Plan, ProofReport, ProofVerdict, SessionReport, Urgency

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
_MOST = 120  # rows in one picture; more can neither be looked at nor written as PNG
_SESSIONS = {"TLS": "#2b6cb0", "unknown": "#e6a700", "plain": "#b8bec7"}


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
    """Draw TLS, plain and unknown sessions of each instance that could be asked; the others are named as not asked."""
    found = [r for r in report.rows if r.tls is not None]
    rows = sorted(found, key=lambda r: -(r.tls or 0) - (r.unknown or 0))[:_MOST] if len(found) > _MOST else found
    counts = {
        "TLS": [r.tls or 0 for r in rows],
        "unknown": [r.unknown or 0 for r in rows],
        "plain": [r.plain or 0 for r in rows],
    }
    blind = len(report.rows) - len(found)
    title = f"Sessions by TLS use on {len(found)} instance(s){_cut(found)}; {blind} could not be asked"
    return _bars([f"{r.instance} · {r.region}" for r in rows], counts, _SESSIONS, title, "sessions")


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


def _cut(found: Sequence[Any]) -> str:
    return f", the first {_MOST} drawn" if len(found) > _MOST else ""


def _cas(rows: Sequence[Any]) -> list[str]:
    return sorted({r.ca or "unknown" for r in rows})


def _bars(
    labels: Sequence[str], counts: Mapping[str, Sequence[int]], colors: Mapping[str, str], title: str, unit: str
) -> Picture:
    from matplotlib.ticker import MaxNLocator  # noqa: PLC0415

    def draw(ax: Axes) -> None:
        left = [0] * len(labels)
        ax.barh(labels, left)  # names every row, also one that has nothing to draw
        ax.set_xlim(0, max([1, *map(sum, zip(*counts.values(), strict=True))]))
        for name, values in counts.items():
            if any(values):
                bars = ax.barh(labels, values, left=left, color=colors.get(name, "#4a5568"), label=name, height=0.6)
                ax.bar_label(
                    bars, [str(v) if v else "" for v in values], label_type="center", color="white", fontsize=8
                )
            left = [a + b for a, b in zip(left, values, strict=True)]
        ax.invert_yaxis()
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.tick_params(labelsize=8)
        ax.set_xlabel(unit, fontsize=8)
        ax.set_title(title, fontsize=9, loc="left")
        if any(map(any, counts.values())):
            ax.legend(fontsize=8, frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))

    words = "; ".join(
        f"{n}: " + ", ".join(f"{lab} {v}" for lab, v in zip(labels, vs, strict=True)) for n, vs in counts.items()
    )
    return _picture(draw, f"{title}. {words}", high=1.1 + 0.34 * len(labels))


def _picture(draw: Callable[[Axes], None], alt: str, *, high: float) -> Picture:
    from matplotlib.figure import Figure  # noqa: PLC0415  without pyplot: no global state, no window, thread-safe

    figure = Figure(figsize=(9, max(high, 1.6)), layout="constrained")
    ax = figure.subplots()
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    draw(ax)
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=110, metadata={"Software": "rdsca"})
    return Picture(out.getvalue(), alt)
