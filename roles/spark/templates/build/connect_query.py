"""Ask the Connect server for a row; fail where it gives none."""

import os
import sys
import uuid
from pathlib import Path

from pyspark.sql.connect.session import SparkSession

TOKEN_FILE = Path(os.environ.get("SPARK_CONNECT_TOKEN_FILE", "/run/secrets/spark_connect_token"))


def main() -> None:
    """Run one job."""
    token = f";token={TOKEN_FILE.read_text().strip()}" if TOKEN_FILE.is_file() else ""
    spark = SparkSession.builder.remote(
        f"sc://localhost:15002/;user_id=health;session_id={uuid.uuid4()}{token}"
    ).create()
    try:
        rows = spark.sql("SELECT count(*) FROM range(10)").collect()
    finally:
        spark.stop()
    sys.exit(0 if rows[0][0] == 10 else 1)


if __name__ == "__main__":
    main()
