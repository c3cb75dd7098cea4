"""What was seen after a change: whether AWS and the wire agree, and whether the clients came back as they were."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime

from .certs import ChainVerdict
from .engines import EVERYBODY
from .model import UNKNOWN, Client, ProofVerdict, Rejection, Sessions, utc
from .rejections import MORE_HOSTS

CLEAR_TEXT = "went on in clear text"
NOT_BACK = ", and was not seen to come back since"
TLS_UNKNOWN = "whether they still use TLS is not known"
_NAMED = 10  # so many clients are named in a sentence; the table has them all


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


def judge_without_tls(api_ca: str | None, target_ca: str, why: str) -> tuple[ProofVerdict, str]:
    """Judge an instance that offers no TLS, as *why* says: there is no certificate to see, and no client to lose."""
    if api_ca != target_ca:
        return ProofVerdict.FAILED, f"AWS says {api_ca or 'unknown'}, not {target_ca}"
    return ProofVerdict.VERIFIED, f"AWS says {api_ca}; it offers no TLS, so nothing is to be seen on the wire: {why}"


def judge_pending(window_utc: str, now: datetime) -> tuple[ProofVerdict, str]:
    """Say what a change that RDS still holds means: it waits for its window, or the window has passed it by."""
    _, _, end = window_utc.partition("/")
    if end and utc(end) < now:
        return ProofVerdict.FAILED, f"the window {window_utc} has passed, and RDS still holds the change"
    return ProofVerdict.SCHEDULED, f"RDS holds the change for the window {window_utc}"


def judge_clients(
    before: Sessions | None, after: Sessions | None, rejected: Iterable[Rejection]
) -> tuple[ProofVerdict, str]:
    """Say what the change did to the clients; one that rejects the CA or lost its encryption fails the proof.

    That all are back is said only of clients that were counted, not of a setting that speaks for every client.
    """
    rejected = tuple(rejected)
    faults = [named(rejected), missing(before, after)]
    if any(r.reason.endswith(NOT_BACK) for r in rejected):
        faults.append("mend their trust stores, let them connect, and run 06-verify again")
    if any(faults):
        return ProofVerdict.FAILED, "; ".join(filter(None, faults))
    if before is None or not before.counted:
        return ProofVerdict.VERIFIED, "who was connected before the change is not known"
    if not countable(before):
        return ProofVerdict.VERIFIED, f"nobody was counted before the change, since a setting decides ({before.source})"
    if not before.clients:
        return ProofVerdict.VERIFIED, "no client was seen before the change"
    text = "every client that was seen before the change is back"
    if any(c.tls is None for s in (before, after) if s for c in s.clients):
        text += f"; {TLS_UNKNOWN}"
    return ProofVerdict.VERIFIED, text


def countable(sessions: Sessions) -> bool:
    """Say whether the rows of *sessions* are clients that were seen, not a setting that speaks for all of them."""
    return all(client.user != EVERYBODY for client in sessions.clients)


def not_back(earlier: Iterable[Rejection], after: Sessions | None) -> tuple[Rejection, ...]:
    """Give those of the *earlier* rejections whose host has not been seen connected over TLS since.

    That a client is silent proves nothing: it may try again once a day. It is the host that must be seen, because
    a client that breaks off the handshake has not said who it is; another client on the same host, or a session that
    is older than the change, looks the same. Somebody without a name counts as back when anybody comes over TLS.
    """
    back = {client.host for client in after.clients if client.tls} if after and after.counted else set()
    return tuple(
        replace(row, reason=row.reason.removesuffix(NOT_BACK) + NOT_BACK)
        for row in earlier
        if row.reason != CLEAR_TEXT and not (back if row.host in (UNKNOWN, MORE_HOSTS) else row.host in back)
    )


def lost_encryption(before: Sessions | None, after: Sessions | None) -> tuple[Rejection, ...]:
    """Name the clients that used TLS before the change and have gone on in clear text, with some sessions or all.

    libpq's ``prefer`` with a stale root file does so without an error. A client is a user with a program: on any
    host, since clients move, and on each host, since a newcomer with TLS must not hide it.
    """
    if before is None or after is None or not before.counted or not after.counted:
        return ()
    found = {client for key in (_user, _who) for client in _gone_plain(before, after, key)}
    return tuple(
        Rejection(
            host=client.host,
            reason=CLEAR_TEXT,
            source=after.source,
            user=client.user,
            program=client.program,
            count=client.count,
        )
        for client in sorted(found, key=_who)
    )


def _gone_plain(before: Sessions, after: Sessions, key: Callable[[Client], tuple[str, ...]]) -> list[Client]:
    then, today = _counts(before, key), _counts(after, key)
    bare = {
        who
        for who, tls in today
        if tls is False
        and today[who, False] > then[who, False]
        and then[who, True]
        and (today[who, True] < then[who, True] or not then[who, False])
    }
    fresh = {_who(c) for c in after.clients if c.tls is False} - {_who(c) for c in before.clients if c.tls is False}
    plain = [c for c in after.clients if c.tls is False and key(c) in bare]
    return [c for c in plain if _who(c) in fresh] or plain


def missing(before: Sessions | None, after: Sessions | None) -> str:
    """Name the clients that were connected before the change and are not back; empty when nobody is missing."""
    if before is None or not before.counted:
        return ""
    if after is None or not after.counted:
        return "its client sessions were read before the change and cannot be read now"
    back = {_user(client) for client in after.clients}
    if gone := {
        " ".join(filter(None, _who(c))) for c in before.clients if c.user != EVERYBODY and _user(c) not in back
    }:
        return f"clients that were connected before the change are not back: {_list(gone)}"
    return ""


def named(rejected: Iterable[Rejection]) -> str:
    """Name the clients that reject the certificate, and those that lost their encryption; empty when there are none."""
    plain, refusing = set(), set()
    for row in rejected:
        host = row.host if row.host != UNKNOWN else "somebody whom the server does not name"
        who = " ".join(filter(None, (row.user, row.program, host)))
        if row.reason == CLEAR_TEXT:
            plain.add(who)
        else:
            refusing.add(f"{who} {row.reason} ({row.count})")
    parts = [
        f"clients reject the certificate: {_list(refusing)}" if refusing else "",
        f"clients {CLEAR_TEXT}: {_list(plain)}" if plain else "",
    ]
    return "; ".join(filter(None, parts))


def _list(names: Iterable[str]) -> str:
    ordered = sorted(names)
    more = f" and {len(ordered) - _NAMED} more" if len(ordered) > _NAMED else ""
    return ", ".join(ordered[:_NAMED]) + more


def _counts(
    sessions: Sessions, key: Callable[[Client], tuple[str, ...]]
) -> Counter[tuple[tuple[str, ...], bool | None]]:
    """Count the sessions of each client, with TLS and without: many clients hide one that lost it."""
    count: Counter[tuple[tuple[str, ...], bool | None]] = Counter()
    for client in sessions.clients:
        count[key(client), client.tls] += client.count
    return count


def _user(client: Client) -> tuple[str, ...]:
    return client.user, client.program


def _who(client: Client) -> tuple[str, ...]:
    return client.user, client.program, client.host
