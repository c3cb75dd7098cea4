"""rdsca: moves Amazon RDS databases to a new certificate authority without breaking their clients."""

from .charts import before_after as picture_before_after
from .charts import ca_mix as picture_ca_mix
from .charts import deadlines as picture_deadlines
from .charts import sessions as picture_sessions
from .edge.folder import check
from .errors import RdscaError
from .model import Inventory, Plan, ProofReport, Rotation, SessionReport, Trust
from .runbook import (
    approve,
    check_sessions,
    check_stores,
    discover,
    fitness,
    fleet_page,
    keep,
    load,
    make_plan,
    rotate,
    seal,
    verify,
    write_report,
)
from .start import start
from .tables import checklist, clients, frame, meaning, problems, table

__all__ = [
    "Inventory",
    "Plan",
    "ProofReport",
    "RdscaError",
    "Rotation",
    "SessionReport",
    "Trust",
    "approve",
    "check",
    "check_sessions",
    "check_stores",
    "checklist",
    "clients",
    "discover",
    "fitness",
    "fleet_page",
    "frame",
    "keep",
    "load",
    "make_plan",
    "meaning",
    "picture_before_after",
    "picture_ca_mix",
    "picture_deadlines",
    "picture_sessions",
    "problems",
    "rotate",
    "seal",
    "start",
    "table",
    "verify",
    "write_report",
]
