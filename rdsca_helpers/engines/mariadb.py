"""MariaDB: MySQL's protocol and tables; performance_schema is off unless somebody switched it on."""

from dataclasses import replace

from . import mysql

ENGINE = replace(mysql.ENGINE, name="mariadb", rds_names=("mariadb",))
