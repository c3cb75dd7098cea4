"""The engine versions that the practice RDS knows, and how each takes a new certificate.

The version numbers are real; which version rotates without a restart, and which CAs it takes, is our
own choice wherever no AWS page says it (AWS publishes no such table: ask DescribeDBEngineVersions).
"""

from __future__ import annotations

from dataclasses import dataclass

RSA2048, RSA4096, ECC384 = "rds-ca-rsa2048-g1", "rds-ca-rsa4096-g1", "rds-ca-ecc384-g1"
CAS = {"all": (RSA2048, RSA4096, ECC384), "rsa": (RSA2048, RSA4096), "2048": (RSA2048,), "none": ()}

# engine, parameter group family, rotates without restart, CAs, versions (oldest first; "-" marks a retired one)
_TABLE = """
mysql               mysql5.7                no   all   -5.7.33 5.7.44
mysql               mysql8.0                yes  all   -8.0.28 8.0.39 8.0.42 8.0.43
mysql               mysql8.4                yes  all   8.4.4 8.4.6 8.4.7
mariadb             mariadb10.6             no   all   10.6.21 10.6.22 10.6.23
mariadb             mariadb10.11            yes  all   10.11.11 10.11.13 10.11.14
mariadb             mariadb11.4             yes  all   11.4.5 11.4.7 11.4.8
mariadb             mariadb11.8             yes  all   11.8.3 11.8.5
postgres            postgres12              no   all   -12.17 12.22
postgres            postgres13              yes  all   -13.4 13.20 13.22
postgres            postgres14              yes  all   14.17 14.19
postgres            postgres15              yes  all   15.10 15.12 15.14
postgres            postgres16              yes  all   16.6 16.8 16.10
postgres            postgres17              yes  all   17.2 17.4 17.6
aurora-mysql        aurora-mysql5.7         no   all   -5.7.mysql_aurora.2.11.4 5.7.mysql_aurora.2.12.5
aurora-mysql        aurora-mysql8.0         yes  all   8.0.mysql_aurora.3.08.2 8.0.mysql_aurora.3.10.0
aurora-postgresql   aurora-postgresql13     yes  all   13.18
aurora-postgresql   aurora-postgresql15     yes  all   15.10 15.12
aurora-postgresql   aurora-postgresql16     yes  all   16.6 16.8
aurora-postgresql   aurora-postgresql17     yes  all   17.4 17.5
sqlserver-se        sqlserver-se-15.0       no   all   15.00.4430.1.v1
sqlserver-se        sqlserver-se-16.0       no   all   16.00.4195.2.v1
sqlserver-ex        sqlserver-ex-15.0       no   all   15.00.4430.1.v1
sqlserver-ex        sqlserver-ex-16.0       no   all   16.00.4195.2.v1
oracle-se2          oracle-se2-19           no   rsa   19.0.0.0.ru-2025-04.rur-2025-04.r1
oracle-se2          oracle-se2-19           no   rsa   19.0.0.0.ru-2025-07.rur-2025-07.r1
oracle-ee           oracle-ee-19            no   rsa   19.0.0.0.ru-2025-04.rur-2025-04.r1
oracle-ee           oracle-ee-19            no   rsa   19.0.0.0.ru-2025-07.rur-2025-07.r1
oracle-ee-cdb       oracle-ee-cdb-19        no   rsa   19.0.0.0.ru-2025-07.rur-2025-07.r1
oracle-ee-cdb       oracle-ee-cdb-21        no   rsa   21.0.0.0.ru-2025-07.rur-2025-07.r1
custom-oracle-ee    custom-oracle-ee-19     no   none  19.cdb_cev1
docdb               docdb3.6                no   rsa   3.6.0
docdb               docdb4.0                yes  all   4.0.0
docdb               docdb5.0                yes  all   5.0.0
neptune             neptune1.3              no   none  1.3.2.1
neptune             neptune1.4              no   none  1.4.5.1
"""

DESCRIPTIONS = {
    "mysql": "MySQL Community Edition",
    "mariadb": "MariaDB Community Edition",
    "postgres": "PostgreSQL",
    "aurora-mysql": "Aurora MySQL",
    "aurora-postgresql": "Aurora (PostgreSQL)",
    "sqlserver-se": "Microsoft SQL Server Standard Edition",
    "sqlserver-ex": "Microsoft SQL Server Express Edition",
    "oracle-se2": "Oracle Database Standard Edition Two",
    "oracle-ee": "Oracle Database Enterprise Edition",
    "oracle-ee-cdb": "Oracle Database Enterprise Edition (CDB)",
    "custom-oracle-ee": "Oracle Database Enterprise Edition (RDS Custom)",
    "docdb": "Amazon DocumentDB (with MongoDB compatibility)",
    "neptune": "Amazon Neptune",
}


@dataclass(frozen=True)
class Version:
    """One engine version as DescribeDBEngineVersions tells it."""

    engine: str
    number: str
    family: str
    restart_free: bool
    cas: tuple[str, ...]
    retired: bool

    @property
    def rotation(self) -> str:
        """What a new certificate costs: "none", "listener" (Oracle) or "restart"."""
        if self.restart_free:
            return "none"
        return "listener" if "oracle" in self.engine else "restart"

    @property
    def months(self) -> int:
        """How long a server certificate lives: 12 months, or 36 where it takes a restart to renew it."""
        return 12 if self.restart_free else 36


def _read(table: str) -> list[Version]:
    found = []
    for line in table.split("\n"):
        if line:
            engine, family, free, cas, *numbers = line.split()
            found += [
                Version(engine, n.lstrip("-"), family, free == "yes", CAS[cas], n.startswith("-")) for n in numbers
            ]
    return found


VERSIONS = _read(_TABLE)
_BY_NAME = {(v.engine, v.number): v for v in VERSIONS}


def find(engine: str, number: str) -> Version | None:
    """Give the row for *engine* and version *number*, if there is one."""
    return _BY_NAME.get((engine, number))


def default(engine: str) -> Version:
    """Give the version that a new instance of *engine* gets: here, the newest."""
    return next(v for v in reversed(VERSIONS) if v.engine == engine)
