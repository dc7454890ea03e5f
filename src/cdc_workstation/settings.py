"""Addresses and credentials of the stack: `connection.env`, overridden by the environment."""

from __future__ import annotations

import os
import pwd
from functools import cache
from pathlib import Path

from pydantic import SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


def _home() -> Path:
    """Return the account's home, as Ansible takes it: `$HOME` is another in a container of GitHub Actions."""
    try:
        return Path(pwd.getpwuid(os.getuid()).pw_dir)
    except KeyError:
        return Path.home()


def connection_file() -> Path:
    """Return the path of `connection.env`.

    `CDC_CONNECTION_FILE` names it outright; otherwise it lies in `CDC_STACK_DIR`, or in the default stack directory.
    """
    explicit = os.environ.get("CDC_CONNECTION_FILE")
    if explicit:
        return Path(explicit).expanduser()
    directory = Path(os.environ.get("CDC_STACK_DIR", _home() / ".local" / "share" / "cdc-workstation"))
    return directory.expanduser() / "connection.env"


class Settings(BaseSettings):
    """Where the services are and how to log in.

    A field is `None` where neither `connection.env` nor the environment names it: that service is not part of the
    stack. Field names are the variables' names in lower case; the environment wins over the file.
    """

    model_config = SettingsConfigDict(extra="ignore", env_file_encoding="utf-8")

    mysql_host: str | None = None
    mysql_port: int = 3306
    mysql_database: str = "cdcdb"
    mysql_user: str = "cdcuser"
    mysql_password: SecretStr = SecretStr("")

    postgres_host: str | None = None
    postgres_port: int = 5432
    postgres_database: str = "cdcdb"
    postgres_user: str = "cdcuser"
    postgres_password: SecretStr = SecretStr("")

    kafka_bootstrap_servers: str | None = None
    # Kafka Connect's REST interface, and its login: none where the password is empty.
    debezium_url: str | None = None
    debezium_user: str = "cdcuser"
    debezium_password: SecretStr = SecretStr("")

    spark_master_url: str | None = None
    spark_remote: str | None = None
    spark_conf_dir: Path | None = None
    delta_tables_dir: Path = Path("/opt/delta-tables")

    delta_sink_url: str | None = None
    # Where the sink's tables lie: `delta_tables_dir`, or a URI in object storage.
    delta_sink_tables: str | None = None

    # Object storage: profile `storage`. Not the names of Amazon's tools, so that a developer's own account in the
    # environment is not taken for the stack's.
    s3_endpoint_url: str | None = None
    s3_region: str = "us-east-1"
    s3_bucket: str = "delta"
    s3_access_key_id: str = ""
    s3_secret_access_key: SecretStr = SecretStr("")

    prometheus_url: str | None = None
    alertmanager_url: str | None = None
    webhook_url: str | None = None
    # The webhook receiver as containers of the stack reach it.
    webhook_internal_url: str | None = None

    # What compose calls the stack: tests that restart a service, and failure evidence, need it.
    compose_project_name: str = "cdc-workstation"

    def s3_storage_options(self) -> dict[str, str]:
        """Return what delta-rs (`deltalake`) needs to read and write tables at `s3://<s3_bucket>/...`.

        Writers agree by conditional puts, which MinIO has: no lock service is needed between delta-rs processes.

        Raises:
            ValueError: the stack has no object storage.
        """
        if self.s3_endpoint_url is None:
            raise ValueError("The stack has no object storage: add storage to stack_profiles and run `make up`.")
        return {
            "AWS_ENDPOINT_URL": self.s3_endpoint_url,
            "AWS_REGION": self.s3_region,
            "AWS_ACCESS_KEY_ID": self.s3_access_key_id,
            "AWS_SECRET_ACCESS_KEY": self.s3_secret_access_key.get_secret_value(),
            "AWS_ALLOW_HTTP": "true",
            "aws_conditional_put": "etag",
        }


@cache
def get_settings() -> Settings:
    """Read the settings once.

    Raises:
        pydantic.ValidationError: a value has the wrong type; the message names the variable.
    """
    return Settings(_env_file=connection_file())
