"""The filters with which roles work their variables out."""

from __future__ import annotations

from typing import Any

import pytest
from declarations import load

spark = load("roles/spark/filter_plugins/spark.py")
sink = load("roles/delta_sink/filter_plugins/delta_sink.py")

LINE = {
    "spark": "4.2.0",
    "delta": "4.4.0",
    "jars": ["io.delta:delta-spark_2.13", "org.apache.spark:spark-sql-kafka-0-10_2.13"],
    "s3_jars": ["org.apache.hadoop:hadoop-aws:3.5.0"],
}
SOURCES = [{"password_file": "/run/secrets/mysql_debezium_password"}]
PASSWORDS = {"mysql_debezium_password": "m", "postgres_debezium_password": "p"}


def test_jars_have_the_version_of_their_project() -> None:
    assert spark.jar_coordinates(LINE) == [
        "io.delta:delta-spark_2.13:4.4.0",
        "org.apache.spark:spark-sql-kafka-0-10_2.13:4.2.0",
    ]


def test_jars_for_object_storage_come_on_request() -> None:
    assert spark.jar_coordinates(LINE, with_s3=True)[2:] == LINE["s3_jars"]


@pytest.mark.parametrize(
    ("workers", "scraped"),
    [([], ["spark-worker:8081"]), (["127.0.0.2", "127.0.0.3"], ["127.0.0.2:28081", "127.0.0.3:28081"])],
    ids=["one machine", "a cluster"],
)
def test_workers_are_scraped_where_they_listen(workers: list[str], scraped: list[str]) -> None:
    targets = spark.scrape_targets(workers, 28081)

    assert [target["target"] for target in targets if target["job"] == "spark-worker"] == scraped


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (("embedded", "sc://spark-connect:15002", "", True), ""),
        (("spark", "sc://spark-connect:15002", "", True), "spark_connect_token"),
        (("spark", "sc://spark-connect:15002", "", False), ""),
        (("spark", "sc://spark.example:15002", "", True), ""),
        (("spark", "sc://spark.example:15002", "a-token", True), "delta_sink_spark_token"),
    ],
)
def test_sink_has_the_token_of_the_server_that_it_uses(arguments: tuple[Any, ...], name: str) -> None:
    assert sink.token_secret(*arguments) == name


def test_sink_has_the_passwords_of_its_sources_alone() -> None:
    assert sink.sink_secrets(PASSWORDS, SOURCES, "", "unused", None) == {"mysql_debezium_password": "m"}


def test_sink_has_the_keys_of_what_it_writes_to() -> None:
    secrets = sink.sink_secrets(PASSWORDS, [], "spark_connect_token", "t", "")

    # An empty value is generated, or was for MinIO.
    assert secrets == {"minio_password": "", "spark_connect_token": "t"}


@pytest.mark.parametrize(
    ("services", "engine", "on_s3", "needs"),
    [
        (["kafka", "spark", "minio"], "embedded", False, ["kafka"]),
        (["kafka", "spark", "minio"], "spark", True, ["kafka", "minio", "spark-connect"]),
        (["delta_sink"], "spark", True, []),
    ],
)
def test_sink_waits_for_services_of_the_stack(services: list[str], engine: str, on_s3: bool, needs: list[str]) -> None:
    assert sink.sink_needs(services, engine, on_s3) == needs
