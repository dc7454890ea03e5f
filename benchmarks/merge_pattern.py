"""What Delta's documentation shows for change data: `foreachBatch` with MERGE, on default settings.

https://docs.delta.io/delta-update/#upsert-from-streaming-queries-using-foreachbatch -- the benchmark runs it in the
sink's image, with the sink's memory, beside the sink. Arguments: brokers, topic, path of the table.
"""

from __future__ import annotations

import sys

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.functions import col, from_json, row_number
from pyspark.sql.window import Window

ROW = "id INT, sequence BIGINT, note STRING"
EVENT = f"payload STRUCT<op: STRING, before: STRUCT<{ROW}>, after: STRUCT<{ROW}>>"


def main(brokers: str, topic: str, path: str) -> None:
    spark = (
        SparkSession.builder.appName("merge-pattern")
        .config("spark.sql.extensions", "io.delta.sql.DeltaSparkSessionExtension")
        .config("spark.sql.catalog.spark_catalog", "org.apache.spark.sql.delta.catalog.DeltaCatalog")
        .config("spark.ui.enabled", "false")
        .getOrCreate()
    )
    spark.sparkContext.setLogLevel("ERROR")
    spark.sql(f"CREATE TABLE IF NOT EXISTS delta.`{path}` ({ROW}) USING delta")

    def upsert(batch: DataFrame, _: int) -> None:
        parsed = batch.select("offset", from_json(col("value").cast("string"), EVENT).alias("e")).select(
            "offset", "e.payload.*"
        )
        changes = parsed.selectExpr("offset", "op", "coalesce(after, before) AS row").select("offset", "op", "row.*")
        newest = Window.partitionBy("id").orderBy(col("offset").desc())
        last = changes.where("op IS NOT NULL").withColumn("n", row_number().over(newest)).where("n = 1")
        last.createOrReplaceTempView("changes")
        last.sparkSession.sql(
            f"MERGE INTO delta.`{path}` t USING changes s ON t.id = s.id"
            " WHEN MATCHED AND s.op = 'd' THEN DELETE"
            " WHEN MATCHED THEN UPDATE SET t.sequence = s.sequence, t.note = s.note"
            " WHEN NOT MATCHED AND s.op != 'd' THEN INSERT (id, sequence, note) VALUES (s.id, s.sequence, s.note)"
        )

    (
        spark.readStream.format("kafka")
        .option("kafka.bootstrap.servers", brokers)
        .option("subscribe", topic)
        .option("startingOffsets", "earliest")
        .load()
        .writeStream.foreachBatch(upsert)
        .option("checkpointLocation", f"{path}_checkpoint")
        .start()
        .awaitTermination()
    )


if __name__ == "__main__":
    main(*sys.argv[1:4])
