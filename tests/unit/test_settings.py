"""Addresses and credentials: `connection.env`, overridden by the environment."""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import ValidationError

from cdc_workstation.settings import Settings, connection_file, get_settings


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An environment that says nothing about the stack, and nothing remembered."""
    known = {name.upper() for name in Settings.model_fields}
    for name in os.environ:
        if name.upper() in known or name.startswith("CDC_"):
            monkeypatch.delenv(name)
    get_settings.cache_clear()
    yield
    get_settings.cache_clear()


@pytest.fixture
def connection_env(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "connection.env"
    path.write_text("# Ansible managed\nMYSQL_HOST=127.0.0.1\nMYSQL_PORT=13306\nMYSQL_PASSWORD=from-file\nNEW_NAME=1\n")
    monkeypatch.setenv("CDC_STACK_DIR", str(tmp_path))
    return path


@pytest.mark.usefixtures("connection_env")
def test_connection_env_says_where_services_are() -> None:
    settings = get_settings()

    assert (settings.mysql_host, settings.mysql_port) == ("127.0.0.1", 13306)
    assert settings.mysql_password.get_secret_value() == "from-file"


@pytest.mark.usefixtures("connection_env")
def test_the_environment_overrides_connection_env(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MYSQL_HOST", "db.example")
    monkeypatch.setenv("MYSQL_PASSWORD", "from-environment")

    settings = get_settings()

    assert settings.mysql_host == "db.example"
    assert settings.mysql_password.get_secret_value() == "from-environment"
    assert settings.mysql_port == 13306


@pytest.mark.usefixtures("connection_env")
def test_a_service_that_nobody_names_is_absent() -> None:
    assert get_settings().kafka_bootstrap_servers is None


@pytest.mark.usefixtures("connection_env")
def test_a_value_of_the_wrong_type_names_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MYSQL_PORT", "a lot")

    with pytest.raises(ValidationError, match=r"(?s)mysql_port.*valid integer"):
        get_settings()


@pytest.mark.usefixtures("connection_env")
def test_a_password_is_not_shown_by_accident() -> None:
    assert "from-file" not in repr(get_settings())


def test_a_file_may_be_named_outright(connection_env: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = connection_env.with_name("other.env")
    other.write_text("MYSQL_HOST=other.example\n")
    monkeypatch.setenv("CDC_CONNECTION_FILE", str(other))

    assert connection_file() == other
    assert get_settings().mysql_host == "other.example"


def test_the_stack_is_looked_for_where_ansible_puts_it_whatever_home_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))

    assert connection_file().is_relative_to(pwd.getpwuid(os.getuid()).pw_dir)


def test_without_a_stack_every_service_is_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CDC_STACK_DIR", str(tmp_path / "nowhere"))

    settings = get_settings()

    assert settings.mysql_host is None
    assert settings.spark_master_url is None


def test_delta_rs_gets_the_stacks_own_object_storage_whatever_account_is_in_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "of-somebody-else")
    settings = Settings(s3_endpoint_url="http://127.0.0.1:9000", s3_access_key_id="cdcuser", s3_secret_access_key="key")

    options = settings.s3_storage_options()

    assert options["AWS_ENDPOINT_URL"] == "http://127.0.0.1:9000"
    assert (options["AWS_ACCESS_KEY_ID"], options["AWS_SECRET_ACCESS_KEY"]) == ("cdcuser", "key")


def test_a_stack_without_object_storage_says_which_profile_brings_it() -> None:
    with pytest.raises(ValueError, match="add storage to stack_profiles"):
        Settings().s3_storage_options()
