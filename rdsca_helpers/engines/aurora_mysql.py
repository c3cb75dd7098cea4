"""Aurora MySQL: MySQL's protocol and tables under another RDS name."""

from dataclasses import replace

from . import mysql

ENGINE = replace(mysql.ENGINE, name="aurora-mysql", rds_names=("aurora-mysql", "aurora"))
