"""What was seen after a change: whether AWS and the wire agree, and whether the clients came back as they were."""

from __future__ import annotations

from collections import Counter
from datetime import datetime

from .certs import ChainVerdict
from .model import Client, ProofVerdict, Sessions, utc


def judge(api_ca: str | None, wire_ca: str | None, target_ca: str, shown: ChainVerdict) -> tuple[ProofVerdict, str]:
    """Say whether the instance is where it should be: by AWS, by the wire, with a chain and a name that hold."""
    if api_ca != wire_ca:
        on_wire = wire_ca or "no CA that RDS offers here"
        return ProofVerdict.DRIFT, f"AWS says {api_ca or 'nothing'}, the wire shows {on_wire}: {shown.reason}"
    if api_ca != target_ca:
        return ProofVerdict.FAILED, f"AWS and the wire both say {api_ca or 'unknown'}, not {target_ca}"
    if not shown.ok:
        return ProofVerdict.FAILED, shown.reason
    return ProofVerdict.VERIFIED, f"AWS and the wire agree on {target_ca}; {shown.reason}"


def judge_pending(window_utc: str, now: datetime) -> tuple[ProofVerdict, str]:
    """Say what a change that RDS still holds means: it waits for its window, or the window has passed it by."""
    _, _, end = window_utc.partition("/")
    if end and utc(end) < now:
        return ProofVerdict.FAILED, f"the window {window_utc} has passed, and RDS still holds the change"
    return ProofVerdict.SCHEDULED, f"RDS holds the change for the window {window_utc}"


def loss(before: Sessions | None, after: Sessions | None) -> str:
    """Say what the clients lost: sessions that did not come back, or their encryption; empty when nothing.

    libpq's ``prefer`` with a stale root file goes on in clear text without an error, so a client with fewer TLS
    sessions and more plain ones is as bad as a failure.
    """
    if before is None or before.tls is None or before.plain is None or before.unknown is None:
        return ""
    if after is None or after.tls is None or after.plain is None or after.unknown is None:
        return "its client sessions were read before the change and cannot be read now"
    then, today = _counts(before), _counts(after)
    bare = {who for who, tls in then if tls and today[who, True] < then[who, True]}
    if gone := sorted(" ".join(filter(None, who)) for who in bare if today[who, False] > then[who, False]):
        return f"clients went on in clear text: {', '.join(gone)}"
    back = {_who(client)[:2] for client in after.clients}
    if missing := [_who(client) for client in before.clients if _who(client)[:2] not in back]:
        names = ", ".join(sorted({" ".join(filter(None, who)) for who in missing}))
        return f"clients that were connected before the change are not back: {names}"
    return ""


def _counts(sessions: Sessions) -> Counter[tuple[tuple[str, str], bool | None]]:
    """Count the sessions of each user and program, with TLS and without: many clients hide one that lost it."""
    count: Counter[tuple[tuple[str, str], bool | None]] = Counter()
    for client in sessions.clients:
        count[_who(client)[:2], client.tls] += client.count
    return count


def _who(client: Client) -> tuple[str, str, str]:
    return client.user, client.program, client.host
