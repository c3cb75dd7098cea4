"""DocumentDB: one cluster parameter decides for every client, so nobody has to log in."""

from __future__ import annotations

from collections.abc import Mapping

from ..model import UNKNOWN, Client, Confidence
from . import EVERYBODY, Census, Channel, Engine

_TLS = {"enabled": True, "fips-140-3": True, "tls1.2+": True, "tls1.3+": True, "disabled": False}


def by_settings(settings: Mapping[str, str]) -> Census:
    """Say of all clients at once whether they use TLS; one row stands for them all, and its count means nothing.

    With *tls* on, a client without TLS is turned away; with it off, one with TLS is (API_Parameter in the DocumentDB
    guide). The parameter is static: until the instance has been rebooted the group's value is not the one in force,
    and the settings then say ``unknown``.
    """
    value = settings.get("tls", UNKNOWN)
    if value in _TLS:
        client = Client(user=EVERYBODY, host="", tls=_TLS[value])
        return Census(f"cluster parameter tls={value}, which counts nobody", Confidence.FULL, (client,))
    if value == UNKNOWN:
        remedy = "which value of the cluster parameter tls is in force cannot be told before the instance is rebooted"
    else:
        remedy = f"rdsca does not know the value {value!r} of the cluster parameter tls; update rdsca"
    return Census("none", Confidence.NONE, (), remedy)


def starttls(channel: Channel) -> Channel:
    """Give the channel as it is: where TLS is on, it begins with the first byte."""
    return channel


ENGINE = Engine(
    name="docdb",
    rds_names=("docdb",),
    port=27017,
    connect=None,
    census=None,
    starttls=starttls,
    settings=("tls",),
    settings_in="cluster_parameter_group",
    by_settings=by_settings,
)
