"""How urgent an instance is: the first date on which a client that checks its certificate stops connecting."""

from __future__ import annotations

from datetime import datetime, timedelta

from .model import Urgency

_LADDER = (
    (timedelta(0), Urgency.EXPIRED),
    (timedelta(days=30), Urgency.DAYS_30),
    (timedelta(days=90), Urgency.DAYS_90),
    (timedelta(days=180), Urgency.DAYS_180),
)
_PRESSING = (Urgency.DAYS_30, Urgency.DAYS_90)


def urgency(
    *, ca: str | None, cert_expires: datetime | None, ca_expires: datetime | None, offered: bool | None, now: datetime
) -> Urgency:
    """Judge by the earlier of the server certificate's end and the CA's.

    *offered* says whether RDS still lists the CA (DescribeCertificates); ``None`` when it could not be asked.
    A CA that RDS no longer lists is retired: its instances cannot renew, whatever their own date says.
    """
    left = min((t - now for t in (cert_expires, ca_expires) if t), default=None)
    if left is not None and left <= timedelta(0):
        return Urgency.EXPIRED
    if ca and offered is False:
        return Urgency.RETIRED_CA
    rung = next((word for limit, word in _LADDER if left is not None and left <= limit), Urgency.OK)
    if rung in _PRESSING:
        return rung  # what is not known can only make it more urgent
    return rung if ca and cert_expires and offered is not None else Urgency.UNKNOWN
