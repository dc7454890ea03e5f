"""Where the sink's tables lie."""

from __future__ import annotations

from pathlib import Path

import pytest

from cdc_workstation.sink.location import is_remote
from cdc_workstation.sink.settings import SinkSettings


@pytest.mark.parametrize(
    ("tables", "path"),
    [
        ("/opt/delta-tables", "/opt/delta-tables/cdcdb/products"),
        ("s3a://delta/cdc", "s3a://delta/cdc/cdcdb/products"),
        ("s3a://delta/cdc/", "s3a://delta/cdc/cdcdb/products"),
    ],
)
def test_topic_has_its_table_below_the_root(tables: str, path: str) -> None:
    location = SinkSettings(tables=tables).location_of("debezium.cdcdb.products")

    assert str(location) == path
    assert location.name == "cdcdb.products"


def test_table_may_lie_elsewhere_below_the_root() -> None:
    settings = SinkSettings(table_paths={"debezium.cdcdb.products": "mine/of/them"})

    assert str(settings.location_of("debezium.cdcdb.products")) == "/opt/delta-tables/mine/of/them"


def test_secrets_join_the_storage_options(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("hush\n", encoding="utf-8")
    settings = SinkSettings(
        storage_options={"AWS_ENDPOINT_URL": "http://minio:9000"},
        storage_secret_files={"AWS_SECRET_ACCESS_KEY": secret},
    )

    assert settings.dead_letters.storage_options == {
        "AWS_ENDPOINT_URL": "http://minio:9000",
        "AWS_SECRET_ACCESS_KEY": "hush",
    }


@pytest.mark.parametrize(("root", "remote"), [("/opt/delta-tables", False), ("s3a://delta/cdc", True)])
def test_uri_is_remote_and_a_directory_is_not(root: str, remote: bool) -> None:
    assert is_remote(root) is remote
