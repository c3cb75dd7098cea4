"""Aurora PostgreSQL: PostgreSQL's protocol and views under another RDS name."""

from dataclasses import replace

from . import postgres

ENGINE = replace(postgres.ENGINE, name="aurora-postgresql", rds_names=("aurora-postgresql",))
