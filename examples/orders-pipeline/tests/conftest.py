"""Fixtures of this project, made of those of cdc-workstation."""

from collections.abc import Callable

import pytest
from pyspark.sql import SparkSession

import revenue
from cdc_workstation.typing import CdcPipeline, CdcPipelines, DeltaTableLocation


@pytest.fixture
def orders(cdc_pipeline: CdcPipelines) -> CdcPipeline:
    """An orders table in MySQL that this test alone uses, captured all the way to Delta."""
    return cdc_pipeline(
        "mysql",
        "id INT AUTO_INCREMENT PRIMARY KEY, customer VARCHAR(50), amount DECIMAL(10, 2), status VARCHAR(10)",
    )


@pytest.fixture
def refresh(
    spark_connect_session: SparkSession, orders: CdcPipeline, delta_table: DeltaTableLocation
) -> Callable[[], None]:
    """Run the pipeline under test over this test's own tables."""
    return lambda: revenue.refresh(spark_connect_session, orders.path, delta_table.path)
