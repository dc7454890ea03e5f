"""Revenue by customer, kept up to date from the orders that change data capture brings to the lake."""

from pyspark.sql import SparkSession

MERGE = """
MERGE INTO delta.`{revenue}` AS r
USING (SELECT customer, SUM(amount) AS total FROM delta.`{orders}` WHERE status = 'paid' GROUP BY customer) AS o
ON r.customer = o.customer
WHEN MATCHED AND r.total <> o.total THEN UPDATE SET total = o.total
WHEN NOT MATCHED THEN INSERT *
WHEN NOT MATCHED BY SOURCE THEN DELETE
"""


def refresh(spark: SparkSession, orders: str, revenue: str) -> None:
    """Bring the Delta table at path `revenue` up to date with the one at path `orders`."""
    spark.sql(f"CREATE TABLE IF NOT EXISTS delta.`{revenue}` (customer STRING, total DECIMAL(20, 2)) USING delta")
    spark.sql(MERGE.format(orders=orders, revenue=revenue))
