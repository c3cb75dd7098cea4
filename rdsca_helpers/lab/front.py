"""The lab's one door: looks at a call's signature and hands it to our RDS, our few extras, or moto."""

from __future__ import annotations

import json
import logging
import random
import re
import string
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from io import BytesIO
from typing import Any
from urllib.parse import parse_qsl
from xml.sax.saxutils import escape

from . import rds
from .faults import Fault, Faults
from .http import Application, Environ, StartResponse
from .world import DISABLED, ENABLED, AwsError, Facts, Resource, World

RDS_SERVICES = ("rds", "docdb", "neptune")  # all three sign as rds; the names are for older clients
log = logging.getLogger(__name__)
_READS = ("Describe", "List", "Get", "Head", "BatchGet", "Lookup", "Assume", "Download", "GET", "HEAD")
_SCOPE = re.compile(r"(?:Credential=)?([^/\s=]+)/\d{8}/([^/]+)/([^/]+)/aws4_request")
_XML, _JSON = "text/xml", "application/x-amz-json-1.1"


@dataclass
class Call:
    """One received request, as `/_lab/calls` shows it."""

    time: datetime
    service: str
    action: str
    account: str
    region: str
    params: Any
    mutating: bool
    status: int = 0
    code: str = ""
    agent: str = ""


@dataclass
class Reply:
    """What goes back."""

    body: bytes
    kind: str = _XML
    status: int = 200
    request_id: str = ""


class Front:
    """A WSGI application; moto's serves what we don't.

    The account is that of a 12-digit access key, or of a session that AssumeRole gave out; any other
    key is refused as AWS refuses a key it does not know, so that real credentials get nowhere here.
    """

    def __init__(self, world: World, pages: Application, others: Callable[[], Application]) -> None:
        self.world = world
        self.faults = Faults()
        self.calls: deque[Call] = deque(maxlen=100_000)
        self.missing: Counter[str] = Counter()
        self._pages = pages
        self._others = others
        self._moto: Application | None = None
        self._sessions: dict[str, tuple[str, str]] = {}
        self._tokens: dict[tuple[str, str], tuple[float, float]] = {}
        self._lock = threading.Lock()
        self._loading = threading.Lock()

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request."""
        if environ["PATH_INFO"].startswith("/_lab/"):
            return self._pages(environ, start_response)
        signed = environ.get("HTTP_AUTHORIZATION") or dict(parse_qsl(environ["QUERY_STRING"])).get(
            "X-Amz-Credential", ""
        )
        scope = _SCOPE.search(signed)
        key, region, service = scope.groups() if scope else ("", "", "")
        service = "rds" if service in RDS_SERVICES else service
        request_id = rds.new_request_id()
        form, params, action = _read(environ, service)
        account = self._account(key)
        call = Call(
            self.world.clock.now(),
            service,
            action,
            account,
            region,
            params,
            mutating=not action.startswith(_READS) and service != "account",
            agent=environ.get("HTTP_USER_AGENT", ""),
        )
        self.calls.append(call)
        try:
            self._check(call, key)
            faults = self._meet(call, key)
            if any(f.kind == "lost_request" for f in faults):
                return _hang_up(environ)
            reply = self._ours(call, form, key, request_id)
        except AwsError as e:
            call.code = e.code
            reply, faults = _refusal(service, e, request_id, environ), []
        except Exception as e:
            log.exception("%s failed", action)
            self.world.clock.errors.append(f"{action}: {type(e).__name__}: {e}")
            call.code = "InternalFailure"
            broken = AwsError("InternalFailure", "A defect of the practice world; its log says more.", 500)
            reply, faults = _refusal(service, broken, request_id, environ), []
        if reply is None:
            return self._other(environ, start_response, call, faults)
        call.status = reply.status
        reply.request_id = request_id
        if any(f.kind == "lost_reply" for f in faults):
            return _hang_up(environ)
        return send(start_response, reply)

    def _account(self, key: str) -> str:
        if key in self._sessions:
            return self._sessions[key][0]
        return key if key in self.world.accounts else ""

    def arn(self, key: str) -> str:
        """Name who calls with access key *key*."""
        if key in self._sessions:
            return self._sessions[key][1]
        return f"arn:aws:iam::{self._account(key)}:user/operator"

    def _check(self, call: Call, key: str) -> None:
        if not call.service:
            if call.action.startswith(("AssumeRole", "GET", "HEAD")):
                return  # unsigned calls that moto may answer: a public object, a web identity
            raise AwsError("MissingAuthenticationToken", "Missing Authentication Token", 403)
        if not call.account or (call.service == "rds" and call.region not in ENABLED):
            text = "The security token included in the request is invalid."
            raise AwsError("InvalidClientTokenId", text, 403)
        if call.service == "rds":
            self._throttle(call)
            if call.region in self.world.accounts[call.account].denied:
                raise self._denied(call, self.arn(key))

    def _denied(self, call: Call, who: str) -> AwsError:
        service = "rds" if call.service == "rds" else call.service
        named = _instance(call.params)
        kind = "cluster" if "Cluster" in call.action else "db"
        resource = f"arn:aws:rds:{call.region}:{call.account}:{kind}:{named or '*'}" if service == "rds" else "*"
        return AwsError(
            "AccessDenied",
            f"User: {who} is not authorized to perform: {service}:{call.action} on resource: {resource}"
            f" because no identity-based policy allows the {service}:{call.action} action",
            403,
        )

    def _throttle(self, call: Call) -> None:
        """Count a token bucket down, one second's worth deep, when settings ask for a rate."""
        if not (rate := self.world.settings.rate):
            return
        with self._lock:
            left, at = self._tokens.get((call.account, call.region), (rate, time.monotonic()))
            now = time.monotonic()
            left = min(rate, left + (now - at) * rate)
            self._tokens[call.account, call.region] = (left - 1 if left >= 1 else left, now)
        if left < 1:
            raise AwsError("Throttling", "Rate exceeded")

    def _meet(self, call: Call, key: str) -> list[Fault]:
        faults = self.faults.hit(call.action, call.account, call.region, _instance(call.params))
        for fault in faults:
            if fault.delay:
                time.sleep(fault.delay)
            if fault.kind == "lag" and (found := self._resource(call)):
                found.shown = (found.answer(), fault.polls)
            if fault.kind == "error" and fault.code == "AccessDenied" and not fault.message:
                raise self._denied(call, self.arn(key))
            if fault.kind == "error":
                raise fault.error()
        return faults

    def _resource(self, call: Call) -> Resource | None:
        place, name = self.world.region(call.account, call.region), _instance(call.params).lower()
        return place.instances.get(name) or place.clusters.get(name)

    def _ours(self, call: Call, form: rds.Form, key: str, request_id: str) -> Reply | None:
        if call.service == "rds":
            ask = rds.ask_of(call.action, form)
            place = self.world.region(call.account, call.region)
            text, missing = rds.answer(self.world, place, call.action, ask, request_id)
            if missing:
                self.missing[call.action] += 1
            return Reply(text.encode())
        special: Answer | None = _SPECIAL.get((call.service, call.action))
        return special(self, call, key, request_id) if special else None

    def _other(
        self, environ: Environ, start_response: StartResponse, call: Call, faults: list[Fault]
    ) -> Iterable[bytes]:
        """Let moto answer, in the account that we found."""
        moto = self.wake()
        if call.account:
            environ["HTTP_X_MOTO_ACCOUNT_ID"] = call.account

        def started(status: str, headers: Any, exc_info: Any = None) -> Any:
            call.status = int(status.split(maxsplit=1)[0])
            return start_response(status, headers, exc_info)

        body = moto(environ, started)
        if any(f.kind == "lost_reply" for f in faults):
            return _hang_up(environ)
        return body

    def wake(self) -> Application:
        """Load moto; it takes a moment."""
        with self._loading:
            if self._moto is None:
                self._moto = self._others()
            return self._moto

    def open_session(self, arn: str, name: str) -> Facts:
        """Do what AssumeRole does: any role of an account of the organization may be assumed."""
        account, role = _role(arn)
        if account not in self.world.accounts:
            raise AwsError("AccessDenied", f"Not authorized to perform sts:AssumeRole on {arn}", 403)
        key = "ASIA" + _random(string.ascii_uppercase + string.digits, 16)
        who = f"arn:aws:sts::{account}:assumed-role/{role}/{name}"
        self._sessions[key] = (account, who)
        return {
            "Credentials": {
                "AccessKeyId": key,
                "SecretAccessKey": _random(string.ascii_letters, 40),
                "SessionToken": _random(string.ascii_letters, 120),
            },
            "AssumedRoleUser": {"AssumedRoleId": f"AROA{account}0000:{name}", "Arn": who},
        }


# --- the few actions beside RDS that moto does not have, or not so that they fit


Answer = Callable[[Front, Call, str, str], Reply]


def _sts(call: Call, answer: Facts, request_id: str) -> Reply:
    return Reply(rds.reply(rds.model("sts"), call.action, answer, request_id).encode())


def _json(answer: Facts, kind: str = _JSON) -> Reply:
    return Reply(json.dumps(answer).encode(), kind)


def _who(front: Front, call: Call, key: str, request_id: str) -> Reply:
    answer = {"UserId": f"AIDA{call.account}0000", "Account": call.account, "Arn": front.arn(key)}
    return _sts(call, answer, request_id)


def _assume(front: Front, call: Call, _: str, request_id: str) -> Reply:
    answer = front.open_session(call.params["RoleArn"], call.params["RoleSessionName"])
    # By this machine's clock, not the lab's: the client's renewal goes by it.
    seconds = int(call.params.get("DurationSeconds", 3600))
    expires = datetime.now(call.time.tzinfo) + timedelta(seconds=seconds)
    answer["Credentials"]["Expiration"] = expires
    return _sts(call, answer, request_id)


def _list_accounts(front: Front, call: Call, _: str, __: str) -> Reply:
    management = next(iter(front.world.accounts))
    if call.account != management:
        raise AwsError("AccessDeniedException", "You don't have permissions to access this resource.")
    return _json({"Accounts": [_account_row(front, a) for a in front.world.accounts]})


def _describe_account(front: Front, call: Call, _: str, __: str) -> Reply:
    if (asked := call.params.get("AccountId")) not in front.world.accounts:
        raise AwsError("AccountNotFoundException", "You specified an account that doesn't exist.")
    return _json({"Account": _account_row(front, asked)})


def _account_row(front: Front, number: str) -> Facts:
    management = next(iter(front.world.accounts))
    name = front.world.accounts[number].name
    return {
        "Id": number,
        "Arn": f"arn:aws:organizations::{management}:account/o-practice00/{number}",
        "Email": f"{name}@example.com",
        "Name": name,
        "Status": "ACTIVE",
        "State": "ACTIVE",
        "JoinedMethod": "CREATED",
        "JoinedTimestamp": 1_600_000_000,
    }


def _region_state(region: str) -> str:
    return "ENABLED_BY_DEFAULT" if region in ENABLED else "DISABLED"


def _list_regions(_: Front, call: Call, __: str, ___: str) -> Reply:
    wanted = call.params.get("RegionOptStatusContains")
    rows = [
        {"RegionName": r, "RegionOptStatus": _region_state(r)}
        for r in (*ENABLED, *DISABLED)
        if not wanted or _region_state(r) in wanted
    ]
    return _json({"Regions": rows}, "application/json")


def _region_opt_status(_: Front, call: Call, __: str, ___: str) -> Reply:
    asked = call.params.get("RegionName", "")
    if asked not in (*ENABLED, *DISABLED):
        raise AwsError("ValidationException", f"no such region: {asked}")
    return _json({"RegionName": asked, "RegionOptStatus": _region_state(asked)}, "application/json")


def _describe_regions(_: Front, call: Call, __: str, request_id: str) -> Reply:
    everything = call.params.get("AllRegions") == "true"
    named = [v for k, v in call.params.items() if k.startswith("RegionName.")]
    rows = "".join(
        f"<item><regionName>{r}</regionName><regionEndpoint>ec2.{r}.amazonaws.com</regionEndpoint>"
        f"<optInStatus>{'opt-in-not-required' if r in ENABLED else 'not-opted-in'}</optInStatus></item>"
        for r in (*ENABLED, *(DISABLED if everything else ()))
        if not named or r in named
    )
    text = (
        '<DescribeRegionsResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/">'
        f"<requestId>{request_id}</requestId><regionInfo>{rows}</regionInfo></DescribeRegionsResponse>"
    )
    return Reply(text.encode())


def _calendar_state(front: Front, call: Call, _: str, __: str) -> Reply:
    known = front.world.settings.calendars
    names = [n.rpartition("/")[2] for n in call.params.get("CalendarNames", [])]
    if missing := [n for n in names if n not in known]:
        raise AwsError("InvalidDocument", f"Document {missing[0]} does not exist.")
    state = "CLOSED" if any(known[n] == "CLOSED" for n in names) else "OPEN"
    at = call.params.get("AtTime") or front.world.clock.now().strftime("%Y-%m-%dT%H:%M:%SZ")
    return _json({"State": state, "AtTime": at})


_SPECIAL: dict[tuple[str, str], Answer] = {
    ("sts", "GetCallerIdentity"): _who,
    ("sts", "AssumeRole"): _assume,
    ("organizations", "ListAccounts"): _list_accounts,
    ("organizations", "DescribeAccount"): _describe_account,
    ("account", "ListRegions"): _list_regions,
    ("account", "GetRegionOptStatus"): _region_opt_status,
    ("ec2", "DescribeRegions"): _describe_regions,
    ("ssm", "GetCalendarState"): _calendar_state,
}
_REST = {"/listRegions": "ListRegions", "/getRegionOptStatus": "GetRegionOptStatus"}


# --- HTTP


def _read(environ: Environ, service: str) -> tuple[dict[str, str], Any, str]:
    """Read what a call asks for: its form, its members, its action.

    A body that moto may want is put back; S3's, which may be large, is never read.
    """
    plain = f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}"
    if service == "s3":
        return {}, {}, plain
    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    environ["wsgi.input"] = BytesIO(body)
    if target := environ.get("HTTP_X_AMZ_TARGET", ""):
        return {}, _loads(body), target.rpartition(".")[2]
    if service == "account":
        return {}, _loads(body), _REST.get(environ["PATH_INFO"], plain)
    form = dict(parse_qsl(body.decode(errors="replace") or environ["QUERY_STRING"], keep_blank_values=True))
    action = form.get("Action", plain)
    params = {k: "***" if "Password" in k else v for k, v in form.items() if k not in ("Action", "Version")}
    return form, params, action


def _loads(body: bytes) -> Any:
    try:
        return json.loads(body or b"{}")
    except ValueError:
        return {}


def _instance(params: Any) -> str:
    if not isinstance(params, dict):
        return ""
    name = params.get("DBInstanceIdentifier") or params.get("DBClusterIdentifier")
    return str(name or params.get("ResourceIdentifier", "")).rpartition(":")[2]


def _role(arn: str) -> tuple[str, str]:
    parts = arn.split(":", 5)
    return (parts[4], parts[5].rpartition("/")[2]) if len(parts) == 6 else ("", "")


def _random(letters: str, length: int) -> str:
    return "".join(random.choices(letters, k=length))  # noqa: S311 - worthless on purpose


def _refusal(service: str, e: AwsError, request_id: str, environ: Environ) -> Reply:
    """Write an error in the words of the service's protocol."""
    if environ.get("HTTP_X_AMZ_TARGET") or service == "account":
        text = json.dumps({"__type": e.code, "code": e.code, "message": e.message, "Message": e.message})
        return Reply(text.encode(), _JSON, e.status)
    if service == "s3":
        text = f"<Error><Code>{e.code}</Code><Message>{escape(e.message)}</Message></Error>"
        return Reply(text.encode(), "application/xml", e.status)
    if service == "ec2":
        inner = f"<Error><Code>{e.code}</Code><Message>{escape(e.message)}</Message></Error>"
        text = f"<Response><Errors>{inner}</Errors><RequestID>{request_id}</RequestID></Response>"
        return Reply(text.encode(), _XML, e.status)
    text = rds.error(rds.model("sts" if service == "sts" else "rds"), e, request_id)
    return Reply(text.encode(), _XML, e.status)


def send(start_response: StartResponse, reply: Reply) -> list[bytes]:
    """Send *reply*."""
    start_response(
        f"{reply.status} {'OK' if reply.status < 400 else 'Error'}",
        [
            ("Content-Type", reply.kind),
            ("Content-Length", str(len(reply.body))),
            ("x-amzn-RequestId", reply.request_id),
        ],
    )
    return [reply.body]


def _hang_up(environ: Environ) -> list[bytes]:
    """Cut the connection instead of answering."""
    environ["lab.hang_up"] = True
    return []


def calls_page(front: Front, wish: dict[str, str]) -> Facts:
    """Show the calls, or those that *wish* names by service, action, account or region."""
    rows = [asdict(c) for c in list(front.calls)]
    rows = [r for r in rows if all(str(r.get(k)) == v for k, v in wish.items())]
    return {"total": len(rows), "mutating": sum(r["mutating"] for r in rows), "calls": rows}
