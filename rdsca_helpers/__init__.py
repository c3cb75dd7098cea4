"""rdsca: moves Amazon RDS databases to a new certificate authority without breaking their clients."""

from .charts import before_after as picture_before_after
from .charts import ca_mix as picture_ca_mix
from .charts import deadlines as picture_deadlines
from .charts import sessions as picture_sessions
from .charts import trust as picture_trust
from .edge.folder import check
from .errors import RdscaError
from .model import Inventory, Plan, ProofReport, Rotation, SessionReport, Trust
from .runbook import (
    approve,
    check_sessions,
    check_stores,
    discover,
    enable_performance_schema,
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
from .tables import additions, advice, checklist, clients, commands, frame, meaning, problems, rejected, table

__all__ = [
    "Inventory",
    "Plan",
    "ProofReport",
    "RdscaError",
    "Rotation",
    "SessionReport",
    "Trust",
    "additions",
    "advice",
    "approve",
    "check",
    "check_sessions",
    "check_stores",
    "checklist",
    "clients",
    "commands",
    "discover",
    "enable_performance_schema",
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
    "picture_trust",
    "problems",
    "rejected",
    "rotate",
    "seal",
    "start",
    "table",
    "verify",
    "write_report",
]
