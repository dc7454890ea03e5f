"""Run once through what the JVMs of the stack do, so that their classes are loaded and can be archived.

One JVM plays all parts: first a standalone cluster (`local-cluster` is a master and a worker in the driver's process),
then a Connect server that runs its tasks itself.
"""

import socket
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from pyspark.sql import SparkSession
from pyspark.sql.connect.functions import udf as connect_udf
from pyspark.sql.connect.session import SparkSession as ConnectSession
from pyspark.sql.functions import udf

# What only the JVMs' main programs load; the rest follows from work.
PROGRAMS = (
    "org.apache.spark.deploy.master.Master",
    "org.apache.spark.deploy.worker.Worker",
    "org.apache.spark.deploy.worker.ExecutorRunner",
    "org.apache.spark.deploy.history.HistoryServer",
    "org.apache.spark.deploy.history.FsHistoryProvider",
    "org.apache.spark.executor.CoarseGrainedExecutorBackend",
    "org.apache.spark.sql.connect.service.SparkConnectServer",
)

CONFIGURATION = {
    "spark.authenticate": "true",
    "spark.authenticate.secret": "of-the-build-only",
    "spark.log.level": "WARN",
    "spark.databricks.delta.snapshotPartitions": "1",
    "spark.driver.host": "127.0.0.1",
    "spark.eventLog.enabled": "true",
    "spark.executor.extraJavaOptions": "-XX:+UseSerialGC -XX:TieredStopAtLevel=1",
    "spark.executor.memory": "512m",
    # Spark 4.2.0 hangs in a Python UDF over columnar input (SPARK-58241).
    "spark.sql.execution.arrow.pythonUDF.columnarInput.enabled": "false",
    "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
    "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
    # As the services have it: classes of the compiler for queries would be archived in vain.
    "spark.sql.codegen.factoryMode": "NO_CODEGEN",
    "spark.sql.codegen.wholeStage": "false",
    "spark.sql.shuffle.partitions": "1",
    "spark.sql.warehouse.dir": "/tmp/warehouse",
    "spark.ui.prometheus.enabled": "true",
}


def start(master: str, events: str, **more: str) -> SparkSession:
    """Start a classic session."""
    builder = SparkSession.builder.master(master).config("spark.eventLog.dir", f"file:{events}")
    for name, value in {**CONFIGURATION, **more}.items():
        builder = builder.config(name, value)
    return builder.getOrCreate()


def work(spark: SparkSession, table: str, python_function: Callable) -> None:
    """Do with a Delta table what tests and pipelines do."""
    frame = spark.createDataFrame([(i, f"name {i}") for i in range(100)], "id long, name string")
    frame.write.format("delta").option("delta.enableChangeDataFeed", "true").save(table)
    function = python_function(lambda value: f"python {value}")
    spark.read.format("delta").load(table).groupBy(function("id")).count().collect()
    spark.sql(
        f"MERGE INTO delta.`{table}` t USING (SELECT 1L AS id, 'new' AS name) s ON t.id = s.id"
        " WHEN MATCHED THEN UPDATE SET * WHEN NOT MATCHED THEN INSERT *"
    ).collect()
    spark.sql(f"DESCRIBE HISTORY delta.`{table}`").collect()


def main() -> None:
    """Play the parts: `train.py driver` plays those of a driver alone, for the JRE of the host."""
    is_driver = sys.argv[1:] == ["driver"]
    with tempfile.TemporaryDirectory() as directory:
        events = Path(directory) / "events"
        events.mkdir()
        cluster = start("local-cluster[1,1,512]", str(events))
        cluster.range(10).count()
        if not is_driver:
            for program in PROGRAMS:
                cluster._jvm.java.lang.Class.forName(program)
        cluster.stop()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        connect = {
            "spark.plugins": "org.apache.spark.sql.connect.SparkConnectPlugin",
            "spark.connect.grpc.binding.port": str(port),
        }
        local = start("local[2]", str(events), **({} if is_driver else connect))
        session = local if is_driver else ConnectSession.builder.remote(f"sc://127.0.0.1:{port}").create()
        work(session, f"{directory}/table", udf if is_driver else connect_udf)
        session.stop()
        local.stop()


if __name__ == "__main__":
    main()
