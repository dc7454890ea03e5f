"""Delta tables in object storage (profile `storage`): Spark and delta-rs see the same table."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from uuid import uuid4

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake
from pyarrow import fs

from cdc_workstation.availability import required
from cdc_workstation.settings import Settings

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


pytestmark = pytest.mark.uses()


@dataclass(frozen=True)
class ObjectTable:
    """Where one test keeps its table, under the names that each side has for it."""

    path: str
    """Bucket and prefix."""
    options: dict[str, str]
    """What delta-rs needs to get there."""

    @property
    def spark(self) -> str:
        """As Spark names it."""
        return f"s3a://{self.path}"

    @property
    def delta_rs(self) -> str:
        """As delta-rs names it."""
        return f"s3://{self.path}"

    def read(self) -> list[int]:
        """Read the ids with delta-rs, in order."""
        table = DeltaTable(self.delta_rs, storage_options=self.options)
        return sorted(table.to_pyarrow_table(columns=["id"])["id"].to_pylist())


@pytest.fixture
def storage(request: pytest.FixtureRequest, stack_settings: Settings) -> fs.S3FileSystem:
    """The bucket's user."""
    endpoint = urlsplit(required(request, "minio", stack_settings.s3_endpoint_url))
    return fs.S3FileSystem(
        access_key=stack_settings.s3_access_key_id,
        secret_key=stack_settings.s3_secret_access_key.get_secret_value(),
        endpoint_override=endpoint.netloc,
        scheme=endpoint.scheme,
        region=stack_settings.s3_region,
        allow_bucket_creation=True,
    )


@pytest.fixture
def table(storage: fs.S3FileSystem, stack_settings: Settings) -> Iterator[ObjectTable]:
    """A table in the bucket that does not exist yet; removed after the test."""
    path = f"{stack_settings.s3_bucket}/pytest-{uuid4().hex[:12]}"
    yield ObjectTable(path, stack_settings.s3_storage_options())
    if storage.get_file_info(path).type == fs.FileType.Directory:
        storage.delete_dir(path)


def test_delta_rs_writes_and_reads_without_spark(table: ObjectTable) -> None:
    for ids in ([1, 2], [3]):
        write_deltalake(table.delta_rs, pa.table({"id": ids}), mode="append", storage_options=table.options)

    assert table.read() == [1, 2, 3]


def test_delta_rs_reads_what_spark_connect_wrote(spark_connect_session: SparkSession, table: ObjectTable) -> None:
    spark_connect_session.range(5).write.format("delta").save(table.spark)

    assert table.read() == [0, 1, 2, 3, 4]


def test_merge_by_spark_is_a_new_version_for_delta_rs(spark_connect_session: SparkSession, table: ObjectTable) -> None:
    spark_connect_session.range(3).write.format("delta").save(table.spark)
    spark_connect_session.sql(
        f"MERGE INTO delta.`{table.spark}` t USING (SELECT 2L AS id UNION ALL SELECT 7L) s ON t.id = s.id"
        " WHEN MATCHED THEN DELETE WHEN NOT MATCHED THEN INSERT *"
    ).collect()

    assert table.read() == [0, 1, 7]
    assert DeltaTable(table.delta_rs, storage_options=table.options).version() == 1


def test_executors_of_the_cluster_read_what_delta_rs_wrote(spark_session: SparkSession, table: ObjectTable) -> None:
    write_deltalake(table.delta_rs, pa.table({"id": [1, 2, 3]}), storage_options=table.options)

    assert spark_session.read.format("delta").load(table.spark).count() == 3


def test_driver_on_the_host_writes_through_the_cluster(spark_session: SparkSession, table: ObjectTable) -> None:
    spark_session.range(4).write.format("delta").save(table.spark)

    assert table.read() == [0, 1, 2, 3]


def test_user_may_not_create_buckets(storage: fs.S3FileSystem) -> None:
    with pytest.raises(OSError, match=r"ACCESS_DENIED|AccessDenied|403"):
        storage.create_dir(f"pytest-{uuid4().hex[:12]}")
