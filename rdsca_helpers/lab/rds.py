"""The Query protocol of RDS and STS, spoken from botocore's own models: forms in, XML out."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from typing import Any
from xml.sax.saxutils import escape

import botocore.loaders
from botocore.model import ServiceModel

from .actions import ACTIONS
from .world import AwsError, Facts, Region, Resource, World

Form = Mapping[str, str]
Shape = Any  # botocore's; its kinds have different members, and `type_name` tells which


@cache
def model(service: str) -> ServiceModel:
    """Load botocore's model of *service*."""
    return ServiceModel(botocore.loaders.Loader().load_service_model(service, "service-2"), service)


def parse(shape: Shape, form: Form, prefix: str = "") -> Any:
    """Read what *shape* describes out of a form: `Filters.Filter.1.Name=engine` and the like."""
    if shape.type_name == "structure":
        start = f"{prefix}." if prefix else ""
        found = {}
        for name, member in shape.members.items():
            key = start + member.serialization.get("name", name)
            if key in form or any(k.startswith(key + ".") for k in form):
                found[name] = parse(member, form, key)
        return found
    if shape.type_name == "list":
        item = f"{prefix}.{shape.member.serialization.get('name', 'member')}"
        rows: list[Any] = []
        while (key := f"{item}.{len(rows) + 1}") in form or any(k.startswith(key + ".") for k in form):
            rows.append(parse(shape.member, form, key))
        return rows
    return _scalar(shape, form.get(prefix, ""), prefix)


def _scalar(shape: Shape, text: str, name: str) -> Any:
    try:
        if shape.type_name == "boolean":
            return {"true": True, "false": False}[text.lower()]
        if shape.type_name in ("integer", "long"):
            return int(text)
        if shape.type_name == "timestamp":
            when = datetime.fromisoformat(text)
            return when if when.tzinfo else when.replace(tzinfo=UTC)
    except (KeyError, ValueError) as e:
        raise AwsError("MalformedInput", f"{name}: {text!r} is not a {shape.type_name}") from e
    return text


def xml(shape: Shape, value: Any) -> str:
    """Write *value* as *shape* describes it; a member that the shape does not have is a defect here."""
    if isinstance(value, Resource):
        if value.xml is None:
            value.xml = xml(shape, value.answer())
        return value.xml
    if shape.type_name == "structure":
        return "".join(
            f"<{(tag := _tag(shape, name))}>{xml(shape.members[name], v)}</{tag}>"
            for name, v in value.items()
            if v is not None
        )
    if shape.type_name == "list":
        tag = shape.member.serialization.get("name", "member")
        return "".join(f"<{tag}>{xml(shape.member, v)}</{tag}>" for v in value)
    if shape.type_name == "timestamp" and isinstance(value, datetime):
        return f"{value.astimezone(UTC).replace(tzinfo=None).isoformat(timespec='milliseconds')}Z"
    if shape.type_name == "boolean":
        return "true" if value else "false"
    return escape(str(value))


def _tag(shape: Shape, name: str) -> str:
    return str(shape.members[name].serialization.get("name", name))


def reply(service: ServiceModel, action: str, answer: Facts, request_id: str) -> str:
    """Wrap *answer* as the Query protocol does."""
    shape = service.operation_model(action).output_shape
    result = f"<{action}Result>{xml(shape, answer)}</{action}Result>" if shape else ""
    return (
        f'<{action}Response xmlns="{service.metadata["xmlNamespace"]}">{result}'
        f"<ResponseMetadata><RequestId>{request_id}</RequestId></ResponseMetadata></{action}Response>"
    )


def error(service: ServiceModel, e: AwsError, request_id: str) -> str:
    """Wrap an error as the Query protocol does."""
    side = "Sender" if e.status < 500 else "Receiver"
    return (
        f'<ErrorResponse xmlns="{service.metadata["xmlNamespace"]}"><Error><Type>{side}</Type>'
        f"<Code>{escape(e.code)}</Code><Message>{escape(e.message)}</Message></Error>"
        f"<RequestId>{request_id}</RequestId></ErrorResponse>"
    )


def new_request_id() -> str:
    """Make what AWS calls a request id."""
    return str(uuid.uuid4())


def ask_of(action: str, form: Form) -> Facts:
    """Read and check the request of an rds *action*.

    An action that nobody knows is InvalidAction; a missing required member is what AWS calls it.
    """
    service = model("rds")
    if action not in service.operation_names:
        raise AwsError("InvalidAction", f"Could not find operation {action} for version 2014-10-31")
    shape = service.operation_model(action).input_shape
    ask: Facts = parse(shape, form) if shape else {}
    for name in shape.required_members if shape else ():
        if name not in ask:
            raise AwsError("MissingParameter", f"The request must contain the parameter {name}.")
    return ask


def answer(world: World, region: Region, action: str, ask: Facts, request_id: str) -> tuple[str, bool]:
    """Answer an rds *action*; say also whether it is one that the lab only pretends to know.

    A Describe that the lab does not have answers empty lists: a foreign tool goes on, and
    `/_lab/stats` counts it as missing.
    """
    service = model("rds")
    known = ACTIONS.get(action)
    if known is None and not action.startswith("Describe"):
        raise AwsError("InvalidAction", f"The practice RDS does not do {action}.")
    with world.lock:
        if known:
            return reply(service, action, known(world, region, ask), request_id), False
        shape = service.operation_model(action).output_shape
        empty: Facts = {n: [] for n, m in shape.members.items() if m.type_name == "list"} if shape else {}
        return reply(service, action, empty, request_id), True
