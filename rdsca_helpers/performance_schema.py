"""performance_schema OFF: the change of a parameter group after which a server can tell who uses TLS. Pure.

AWS: "Working with parameter groups" in the RDS user guide; the parameter is static, so it takes a reboot.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from .model import Instance, ParameterStatus

NAME, ON = "performance_schema", "1"
_IS_ON = ("1", "on", "true")


def judge(
    instance: Instance, groups: Sequence[str], parameter: Mapping[str, Any] | None
) -> tuple[ParameterStatus, str]:
    """Say whether the group of *instance* can be changed so that performance_schema is on, and why not.

    *groups* are its DB parameter groups as AWS has them now, *parameter* is the one of the first of them.
    """
    if instance.kind == "multi-az-cluster":
        whose = instance.cluster_parameter_group or "its cluster parameter group"
        return ParameterStatus.REFUSED, f"a Multi-AZ DB cluster has it in {whose}, which rdsca does not change"
    if not groups:
        return ParameterStatus.REFUSED, "AWS does not say which DB parameter group it has"
    group = groups[0]
    if len(groups) > 1:
        return ParameterStatus.REFUSED, f"it is on its way from one group to another: {', '.join(groups)}"
    if group.startswith("default."):
        return (
            ParameterStatus.REFUSED,
            f"{group} is a default group, which nobody can change: give the instance a group of its own",
        )
    if parameter is None:
        return ParameterStatus.REFUSED, f"{group} has no parameter {NAME}"
    if not parameter.get("IsModifiable", False):
        return ParameterStatus.REFUSED, f"AWS does not let {NAME} be changed in {group}"
    if str(parameter.get("ParameterValue", "")).lower() in _IS_ON:
        return ParameterStatus.UNCHANGED, "the group has it on already; the server has it after a reboot"
    return ParameterStatus.WOULD_CHANGE, f"{NAME}={ON} would be set, in force after the next reboot"


def present(parameter: Mapping[str, Any] | None) -> str:
    """Say how the group has the parameter now: value and apply type."""
    if parameter is None:
        return ""
    return f"{parameter.get('ParameterValue', 'not set')} ({parameter.get('ApplyType', 'unknown')})"


def commands(instance: Instance, group: str, *, endpoint: str, profile: str) -> tuple[str, ...]:
    """Write the change as AWS CLI lines; for a default group they make and assign a group of its own first.

    They name the endpoint, since AWS CLI v1 ignores a configured one for rds in us-east-1.
    """
    common = ["--region", instance.region]
    common += ["--endpoint-url", endpoint] if endpoint else []
    common += ["--profile", profile] if profile else []

    def line(verb: str, *words: str) -> str:
        return shlex.join(["aws", "rds", verb, *words, *common])

    change = f"ParameterName={NAME},ParameterValue={ON},ApplyMethod=pending-reboot"
    if instance.kind == "multi-az-cluster":
        group = instance.cluster_parameter_group or ""
        verb, option = "modify-db-cluster-parameter-group", "--db-cluster-parameter-group-name"
        return (line(verb, option, group, "--parameters", change),) if group else ()
    option = "--db-parameter-group-name"
    if not group.startswith("default."):
        return (line("modify-db-parameter-group", option, group, "--parameters", change),) if group else ()
    family = group.removeprefix("default.")
    own = f"{instance.instance}-{family}".replace(".", "-")
    about = f"{instance.instance}: {group} with {NAME} on"
    return (
        line("create-db-parameter-group", option, own, "--db-parameter-group-family", family, "--description", about),
        line("modify-db-parameter-group", option, own, "--parameters", change),
        line("modify-db-instance", "--db-instance-identifier", instance.instance, option, own),
    )
