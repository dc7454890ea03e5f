"""A consumer without Spark: confluent-kafka and delta-rs' merge. Arguments: brokers, topic, path of the table.

It keeps no position and no schema: what it shows is how long the work itself takes, not a product.
"""

from __future__ import annotations

import json
import sys
import time

import pyarrow as pa
from confluent_kafka import Consumer, TopicPartition
from deltalake import DeltaTable

SCHEMA = pa.schema([("id", pa.int32()), ("sequence", pa.int64()), ("note", pa.string()), ("deleted", pa.bool_())])
BATCH_SECONDS = 0.2


def main(brokers: str, topic: str, path: str) -> None:
    table = DeltaTable.create(path, SCHEMA.remove(3), mode="ignore")
    consumer = Consumer({"bootstrap.servers": brokers, "group.id": "delta-rs", "enable.auto.commit": False})
    consumer.assign([TopicPartition(topic, 0, 0)])
    while True:
        last = {}
        for message in consumer.consume(10_000, BATCH_SECONDS):
            if message.error() is None and message.value() is not None:
                payload = json.loads(message.value())["payload"]
                row = payload["after"] or payload["before"]
                last[row["id"]] = row | {"deleted": payload["op"] == "d"}
        if not last:
            time.sleep(0.01)
            continue
        (
            table.merge(pa.Table.from_pylist(list(last.values()), SCHEMA), "t.id = s.id", "s", "t")
            .when_matched_delete("s.deleted")
            .when_matched_update({name: f"s.{name}" for name in ("sequence", "note")})
            .when_not_matched_insert({name: f"s.{name}" for name in ("id", "sequence", "note")}, "NOT s.deleted")
            .execute()
        )


if __name__ == "__main__":
    main(*sys.argv[1:4])
