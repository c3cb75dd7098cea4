"""AWS: the only place that calls it. Reads are repeated when they fail; a change is sent once and never again."""

from __future__ import annotations

import ipaddress
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime
from typing import Any, TypeVar
from urllib.parse import urlsplit

import boto3
import botocore.exceptions as boto_errors
import botocore.session
from botocore.config import Config
from botocore.credentials import AssumeRoleCredentialFetcher, DeferredRefreshableCredentials
from botocore.parsers import ResponseParserError

from ..errors import AccessDenied, OutcomeUnknown, RdscaError, Refused, Stopped, Unreachable, UsageError
from ..inventory import RegionFacts
from ..model import UNKNOWN, Instance, Problem

T = TypeVar("T")

# botocore's standard mode shares one retry quota per client and loses calls under throttling; adaptive does not.
_READ = Config(
    retries={"mode": "adaptive", "total_max_attempts": 8},
    connect_timeout=5,
    read_timeout=30,
    max_pool_connections=16,
    user_agent_extra="rdsca",
)
_DENIED = ("AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "UnauthorizedAccess")
_SIGNED_OFF = (
    "ExpiredToken",
    "ExpiredTokenException",
    "InvalidClientTokenId",
    "UnrecognizedClientException",
    "AuthFailure",
)
_MAY_HAVE_ARRIVED = (
    boto_errors.ReadTimeoutError,
    boto_errors.ConnectionClosedError,
    boto_errors.ResponseStreamingError,
    boto_errors.IncompleteReadError,
    boto_errors.HTTPClientError,
)
_OFF = "opt-in region"
_PORTION_LINES = 4000  # of a log file in one call; some 1 MB when its lines are twice as long as usual


class Aws:
    """One account's AWS, reached through a profile and, where asked, a role.

    A profile may hold *settings* of our own, ``rdsca_…``: a reach file, trust stores, a mirror of the CA bundle. And
    it may confine itself to this machine (``rdsca_guard = loopback``, as the practice world's does): then no client
    is handed out whose endpoint is elsewhere.
    """

    def __init__(self, *, profile: str, account: str, role: str = "") -> None:
        """Prepare the session; the first call is made by :meth:`check_account`."""
        self.account = account
        self.profile = profile
        self._lock = threading.Lock()  # creating clients is not thread-safe, using them is
        self._clients: dict[tuple[str, str, str], Any] = {}
        self._reading: dict[tuple[str, ...], threading.Lock] = {}
        self._read: dict[tuple[str, ...], Any] = {}
        core = botocore.session.Session(profile=profile or None)
        try:
            settings = core.get_scoped_config()
        except boto_errors.ProfileNotFound:
            remedy = (
                'start the practice world with "rdsca lab start", then eval "$(rdsca lab env)"'
                if profile == "lab"
                else "see the names with: aws configure list-profiles"
            )
            raise UsageError(f"there is no AWS profile {profile!r}", remedy) from None
        self.settings = {k.removeprefix("rdsca_"): str(v) for k, v in settings.items() if k.startswith("rdsca_")}
        self._confined = self.settings.get("guard") == "loopback"
        self._config = _READ.merge(Config(proxies={})) if self._confined else _READ  # a proxy may be anywhere
        self.home_region: str = settings.get("region") or "us-east-1"
        if role:
            self._assume(core, role if role.startswith("arn:") else f"arn:aws:iam::{account}:role/{role}")
        self._session = boto3.Session(botocore_session=core)

    def _assume(self, core: Any, role_arn: str) -> None:
        """Let the session act as *role_arn*, with credentials that renew themselves in long runs."""
        with _named("sts:AssumeRole", role_arn):
            source = core.get_credentials()
            if source is None:
                raise UsageError("no AWS credentials were found", "log in, or name a profile that has some")

        def client(service: str, **keywords: Any) -> Any:
            made = core.create_client(
                service,
                region_name=self.home_region,
                config=self._config,
                **{k: v for k, v in keywords.items() if k != "config"},
            )
            self._guard(made)
            return made

        fetcher = AssumeRoleCredentialFetcher(
            client, source, role_arn, extra_args={"RoleSessionName": "rdsca"}, cache={}
        )
        core._credentials = DeferredRefreshableCredentials(
            method="assume-role", refresh_using=fetcher.fetch_credentials
        )

    def client(self, service: str, region: str, *, changing_by: str = "") -> Any:
        """Give the boto3 client for *service* in *region*.

        One that changes something names what it is *changing_by*, and never repeats a request.
        """
        key = (service, region, changing_by)
        with self._lock:
            if key not in self._clients:
                once = Config(
                    retries={"mode": "standard", "total_max_attempts": 1},
                    user_agent_extra=f"rdsca {changing_by}",
                )
                with _named(service, f"{self.account}/{region}"):
                    made = self._session.client(
                        service, region_name=region, config=self._config.merge(once) if changing_by else self._config
                    )
                self._guard(made)
                self._clients[key] = made
            return self._clients[key]

    def _guard(self, client: Any) -> None:
        host = urlsplit(client.meta.endpoint_url).hostname or ""
        if self._confined and not _is_loopback(host):
            raise Refused(
                f"profile {self.profile!r} is confined to this machine, and {client.meta.service_model.service_name} "
                f"would be called at {host}",
                'unset AWS_IGNORE_CONFIGURED_ENDPOINT_URLS, and eval "$(rdsca lab env)" again',
            )

    def whoami(self) -> str:
        """Ask AWS who this is, and give the ARN (sts:GetCallerIdentity, which needs no permission)."""
        with _named("sts:GetCallerIdentity", self.account or self.profile):
            return str(self.client("sts", self.home_region).get_caller_identity()["Arn"])

    def check_account(self) -> str:
        """Give the ARN that acts; raises ``Refused`` when it is not of the account that was named."""
        arn = self.whoami()
        if (actual := arn.split(":")[4]) != self.account:
            raise Refused(
                f"the credentials are of account {actual}, not {self.account}",
                "name the right profile or role, or the right account",
            )
        return arn

    def enabled_regions(self) -> tuple[list[str], list[Problem]]:
        """List the account's regions, with a problem for each that is switched off (account:ListRegions)."""
        with _named("account:ListRegions", self.account):
            pages = self.client("account", self.home_region).get_paginator("list_regions").paginate()
            found = [r for page in pages for r in page["Regions"]]
        on = [r["RegionName"] for r in found if r["RegionOptStatus"] in ("ENABLED", "ENABLED_BY_DEFAULT")]
        off = [r["RegionName"] for r in found if r["RegionName"] not in on]
        return sorted(on), [
            Problem(f"{self.account}/{r}", f"not scanned: {_OFF} that is switched off") for r in sorted(off)
        ]

    def region_facts(self, region: str) -> tuple[RegionFacts, list[Problem]]:
        """Read all that the inventory needs from one *region*; every page of every list.

        Instances that cannot be listed raise ``AccessDenied`` or ``Unreachable``; what else is refused becomes a
        problem, and ``None`` in the facts.
        """
        problems: list[Problem] = []

        def listed(operation: str, key: str, **keywords: Any) -> list[dict[str, Any]] | None:
            try:
                return self._list(region, operation, key, **keywords)
            except RdscaError as e:
                problems.append(Problem(f"{self.account}/{region}", e.what, e.remedy))
                return None

        instances = self._list(region, "describe_db_instances", "DBInstances")
        clusters = listed("describe_db_clusters", "DBClusters")
        kinds = sorted({(i.get("Engine", ""), i.get("EngineVersion", "")) for i in [*instances, *(clusters or ())]})
        with ThreadPoolExecutor(4) as pool:
            versions = pool.map(lambda k: self._version(region, k[0], k[1], problems), kinds)
            facts = RegionFacts(
                account=self.account,
                region=region,
                instances=instances,
                clusters=clusters,
                certificates=listed("describe_certificates", "Certificates"),
                pending_actions=listed("describe_pending_maintenance_actions", "PendingMaintenanceActions"),
                proxies=listed("describe_db_proxies", "DBProxies"),
                versions=dict(zip(kinds, versions, strict=True)),
            )
        return facts, problems

    def _version(self, region: str, engine: str, version: str, problems: list[Problem]) -> dict[str, Any] | None:
        where = f"{self.account}/{region}"
        try:
            found = self._list(
                region,
                "describe_db_engine_versions",
                "DBEngineVersions",
                Engine=engine,
                EngineVersion=version,
                IncludeAll=True,  # instances outlive the versions that RDS offers
            )
        except RdscaError as e:
            problems.append(Problem(where, f"{engine} {version}: {e.what}", e.remedy))
            return None
        return next((v for v in found if v.get("EngineVersion") == version), None)

    def _list(self, region: str, operation: str, key: str, **keywords: Any) -> list[dict[str, Any]]:
        client = self.client("rds", region)
        name = "rds:" + client.meta.method_to_api_mapping[operation]
        with _named(name, f"{self.account}/{region}"):
            pages = client.get_paginator(operation).paginate(**keywords)
            return [row for page in pages for row in page.get(key, ())]

    def settings_of(self, instance: Instance, group: str, names: Sequence[str]) -> dict[str, str]:
        """Give the values of the settings *names* that are in force on *instance*; one that is not set is left out.

        *group* is the field of the instance that names their group: ``parameter_group``, ``cluster_parameter_group``
        or ``option_group``. An option's value is its port (empty when it has none). What is not in force yet, since
        the instance waits for a reboot or RDS is at work, is ``unknown``. Each group is read once.
        """
        name: str | None = getattr(instance, group)
        if not name:
            raise Unreachable(f"AWS did not say which {group.replace('_', ' ')} {instance.where} has")
        state = instance.group_status.get(group, UNKNOWN)
        if group == "option_group":
            if state != "in-sync":
                return dict.fromkeys(names, UNKNOWN)
            options = self._once((instance.region, group, name), lambda: self._options(instance.region, name))
            return {n: options[n] for n in names if n in options}
        rows = self._parameters(instance.region, group, name, names)
        waits = {n for n in rows if state != "in-sync" and (state != "pending-reboot" or rows[n][1] == "static")}
        return {n: UNKNOWN if n in waits else rows[n][0] for n in names if n in rows}

    def _options(self, region: str, name: str) -> dict[str, str]:
        found = self._list(region, "describe_option_groups", "OptionGroupsList", OptionGroupName=name)
        return {o["OptionName"]: str(o.get("Port", "")) for g in found for o in g.get("Options", ())}

    def _parameters(self, region: str, group: str, name: str, names: Sequence[str]) -> dict[str, tuple[str, str]]:
        """Give value and apply type of the parameters; first the few that somebody has set, and all if need be."""
        operation, key = {
            "parameter_group": ("describe_db_parameters", "DBParameterGroupName"),
            "cluster_parameter_group": ("describe_db_cluster_parameters", "DBClusterParameterGroupName"),
        }[group]

        def read(**keywords: str) -> dict[str, tuple[str, str]]:
            rows = self._list(region, operation, "Parameters", **{key: name}, **keywords)
            return {
                r["ParameterName"]: (r["ParameterValue"], r.get("ApplyType", "static"))
                for r in rows
                if "ParameterValue" in r
            }

        found = self._once((region, group, name, "user"), lambda: read(Source="user"))
        if set(names) <= found.keys():
            return found
        return self._once((region, group, name), read)

    def _once(self, key: tuple[str, ...], read: Callable[[], T]) -> T:
        """Read what *key* stands for, once however many threads ask; a failure is not kept."""
        with self._lock:
            lock = self._reading.setdefault(key, threading.Lock())
        with lock:
            if key not in self._read:
                self._read[key] = read()
            found: T = self._read[key]
            return found

    def read_again(self, region: str, instance: str, kind: str) -> RegionFacts:
        """Read one instance with its cluster, or one Multi-AZ DB cluster, as it is now."""
        client = self.client("rds", region)
        where = f"{self.account}/{region}/{instance}"

        def cluster(name: str) -> list[dict[str, Any]]:
            with _named("rds:DescribeDBClusters", where):
                return list(client.describe_db_clusters(DBClusterIdentifier=name)["DBClusters"])

        if kind == "multi-az-cluster":
            return RegionFacts(account=self.account, region=region, instances=[], clusters=cluster(instance))
        with _named("rds:DescribeDBInstances", where):
            found = list(client.describe_db_instances(DBInstanceIdentifier=instance)["DBInstances"])
        member_of = {name for i in found if (name := i.get("DBClusterIdentifier"))}
        return RegionFacts(
            account=self.account, region=region, instances=found, clusters=[c for m in member_of for c in cluster(m)]
        )

    def change_ca(self, region: str, instance: str, kind: str, target_ca: str, *, now: bool, plan: str) -> str:
        """Send the change, once, and give AWS's request id; the *plan*'s digest goes along in the user agent.

        Raises ``Refused`` when AWS said no, ``OutcomeUnknown`` when the request may have arrived and no answer
        came. Nobody repeats it: the same CA again may mean a second restart (RDS API, ModifyDBInstance).
        """
        client = self.client("rds", region, changing_by=f"plan/{plan[:8]}")
        where = f"{self.account}/{region}/{instance}"
        keywords = {"CACertificateIdentifier": target_ca, "ApplyImmediately": now}
        if kind == "multi-az-cluster":
            return _send(lambda: client.modify_db_cluster(DBClusterIdentifier=instance, **keywords), where, _LOOK)
        return _send(lambda: client.modify_db_instance(DBInstanceIdentifier=instance, **keywords), where, _LOOK)

    def parameter_groups(self, region: str) -> dict[str, list[str]]:
        """Give the DB parameter groups of every instance in *region*; two while it moves from one to the other."""
        return {
            i["DBInstanceIdentifier"]: [g["DBParameterGroupName"] for g in i.get("DBParameterGroups", ())]
            for i in self._list(region, "describe_db_instances", "DBInstances")
        }

    def parameter(self, region: str, group: str, name: str) -> dict[str, Any] | None:
        """Read one parameter of a DB parameter group, as DescribeDBParameters has it; ``None`` when it has no such."""
        rows = self._list(region, "describe_db_parameters", "Parameters", DBParameterGroupName=group)
        return next((r for r in rows if r["ParameterName"] == name), None)

    def change_parameter(self, region: str, group: str, name: str, value: str) -> str:
        """Set one parameter of a DB parameter group from the next reboot on; send it once, give AWS's request id.

        Raises as :meth:`change_ca` does.
        """
        client = self.client("rds", region, changing_by=f"parameter/{name}")
        change = {"ParameterName": name, "ParameterValue": value, "ApplyMethod": "pending-reboot"}
        return _send(
            lambda: client.modify_db_parameter_group(DBParameterGroupName=group, Parameters=[change]),
            f"{self.account}/{region}/{group}",
            "look at the parameter group in the console; this request is not sent again",
        )

    def log_files(self, region: str, instance: str, since: datetime, containing: str) -> list[str]:
        """Name the log files written since *since* with *containing* in their names, oldest first."""
        files = self._list(
            region,
            "describe_db_log_files",
            "DescribeDBLogFiles",
            DBInstanceIdentifier=instance,
            FilenameContains=containing,
            FileLastWritten=int(since.timestamp() * 1000),
        )
        files.sort(key=lambda f: (f.get("LastWritten", 0), f["LogFileName"]))
        return [f["LogFileName"] for f in files]

    def log_text(self, region: str, instance: str, file: str, most: int) -> tuple[str, bool]:
        """Give the text of a log file, at most some *most* bytes, and whether it is whole.

        Of a file that turns out longer, the end is given: its latest lines, a portion of 1 MB or 10,000 lines. AWS
        cuts a portion of more than 1 MB in mid-line (RDS API, DownloadDBLogFilePortion), so portions are kept short.
        """
        client = self.client("rds", region)
        portions: list[str] = []
        marker = "0"  # from the first line; without a marker it is the last ones
        with _named("rds:DownloadDBLogFilePortion", f"{self.account}/{region}/{instance}"):
            try:
                while sum(map(len, portions)) < most:
                    answer = client.download_db_log_file_portion(
                        DBInstanceIdentifier=instance, LogFileName=file, Marker=marker, NumberOfLines=_PORTION_LINES
                    )
                    portions.append(answer.get("LogFileData") or "")
                    if not answer.get("AdditionalDataPending") or answer.get("Marker") in (None, marker):
                        return "".join(portions), True
                    marker = answer["Marker"]
                end = client.download_db_log_file_portion(DBInstanceIdentifier=instance, LogFileName=file)
            except ResponseParserError:  # control characters, which a client can put there, are no XML
                raise Unreachable(
                    f"{file} of {self.account}/{region}/{instance} cannot be read as AWS sends it"
                ) from None
        return end.get("LogFileData") or "", False

    def secret(self, region: str, arn: str) -> str:
        """Give the text of a Secrets Manager secret; the caller keeps it out of every output."""
        with _named("secretsmanager:GetSecretValue", arn):
            return str(self.client("secretsmanager", region).get_secret_value(SecretId=arn)["SecretString"])

    def login_token(self, region: str, host: str, port: int, user: str) -> str:
        """Make an IAM database login token (valid 15 minutes), signed on this machine."""
        with _named("rds-db:connect", f"{host}:{port}"):
            return str(self.client("rds", region).generate_db_auth_token(host, port, user, Region=region))

    def endpoint(self, region: str) -> str:
        """Give the URL at which RDS is called in *region*."""
        return str(self.client("rds", region).meta.endpoint_url)


_LOOK = "look at the instance in the console, then run 05-rotate again: it reads first and never repeats a change"


def _send(call: Callable[[], Any], where: str, remedy: str) -> str:
    """Send one change of *where* and give AWS's request id; what may have arrived unanswered is an unknown outcome."""
    try:
        answer = call()
    except boto_errors.ClientError as e:
        status = e.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        if status >= 500:
            raise OutcomeUnknown(f"AWS failed while it changed {where} (HTTP {status})", remedy) from None
        raise _from_answer(e, "rds:Modify", where, as_refusal=True) from None
    except (boto_errors.EndpointConnectionError, boto_errors.ConnectTimeoutError) as e:
        raise Refused(f"{where}: AWS could not be reached, so nothing was sent ({type(e).__name__})") from None
    except _MAY_HAVE_ARRIVED as e:
        raise OutcomeUnknown(
            f"no answer came after the change of {where} was sent ({type(e).__name__})", remedy
        ) from None
    except Exception as e:  # noqa: BLE001  an answer that cannot be read says nothing about what was done
        raise OutcomeUnknown(
            f"the answer to the change of {where} could not be read ({type(e).__name__})", remedy
        ) from None
    return str(answer["ResponseMetadata"].get("RequestId", ""))


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@contextmanager
def _named(action: str, where: str) -> Iterator[None]:
    """Turn what boto3 raises into our errors, named after *action* and place; boto3's text may hold values."""
    try:
        yield
    except boto_errors.ClientError as e:
        raise _from_answer(e, action, where) from None
    except (boto_errors.NoCredentialsError, boto_errors.PartialCredentialsError, boto_errors.CredentialRetrievalError):
        raise UsageError("no AWS credentials were found", "log in, or name a profile that has some") from None
    except (boto_errors.ParamValidationError, boto_errors.InvalidRegionError) as e:
        raise UsageError(f"{action} in {where}: botocore refuses a value ({type(e).__name__})") from None
    except boto_errors.BotoCoreError as e:
        raise Unreachable(
            f"{action} got no answer in {where} ({type(e).__name__})",
            "check the network, the proxy and, for the practice world, that it is started (rdsca lab status)",
        ) from None


def _from_answer(e: boto_errors.ClientError, action: str, where: str, *, as_refusal: bool = False) -> RdscaError:
    """Give the error that AWS's answer stands for; its code says which, its text is AWS's own."""
    answer = e.response.get("Error", {})
    code, text = answer.get("Code", "?"), answer.get("Message", "")
    if action == "rds:Modify":
        action = f"rds:{e.operation_name}"
    if e.operation_name == "AssumeRole":  # credentials renew themselves inside any other call
        action = "sts:AssumeRole"
    if code in _DENIED:
        kind: type[RdscaError] = Refused if as_refusal else AccessDenied
        return kind(f"{action} was refused in {where}", "allow it in the role this run assumes")
    if code in _SIGNED_OFF:
        return Refused(
            f"AWS does not accept the credentials for {action} in {where} ({code})",
            "log in again; a region that is switched off in the account answers like this too",
        )
    if code in ("SignatureDoesNotMatch", "RequestExpired", "RequestTimeTooSkewed"):
        return Refused(f"AWS does not accept the signature of {action} in {where}", "set this machine's clock right")
    kind = Refused if as_refusal else Stopped
    return kind(f"{action} failed in {where}: {code}: {text}")
