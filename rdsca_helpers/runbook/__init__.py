"""The verbs of the runbook, a file for each step. What is decided, floor 1 decides; these carry it out."""

from .discovery import discover
from .evidence import fleet_page, keep, load, seal, write_report
from .fitness import fitness
from .parameter_change import enable_performance_schema
from .planning import approve, make_plan
from .rotation import rotate
from .sessions import check_sessions
from .stores import check_stores
from .verification import verify

__all__ = [
    "approve",
    "check_sessions",
    "check_stores",
    "discover",
    "enable_performance_schema",
    "fitness",
    "fleet_page",
    "keep",
    "load",
    "make_plan",
    "rotate",
    "seal",
    "verify",
    "write_report",
]
