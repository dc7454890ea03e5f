"""The rules that judge settings: a table of settings, values and what is said of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
SPECS = {
    path.parent.parent.name: yaml.safe_load(path.read_text())["argument_specs"]["main"].get("options", {})
    for path in ROOT.glob("roles/*/meta/argument_specs.yml")
}
OPTIONS = {name: option for options in SPECS.values() for name, option in options.items()}
SERVICES = ["alertmanager", "kafka", "webhook_receiver"]

ADDRESS = "is not a valid IPv4 address; use an address of this machine, such as 127.0.0.1, or 0.0.0.0 for all."
SUBNET = "is not a valid IPv4 range; use one without host bits, /8 to /27, such as 172.30.57.0/24."
DIRECTORY = (
    "is not a valid directory; use an absolute path of letters, digits and . _ - @ +, no system directory and without "
    "a final slash."
)
PORT = "is not a valid port; use a number from 1 to 65535."
MEMORY = "is not a valid memory size; use at least 6m, as a whole number with k, m or g, such as 96m."
HEAP = "is not a valid heap size; use at least 2m, as a whole number with k, m or g, such as 96m."
INTERVAL = "is not a valid duration; use a number with ms, s, m or h, such as 5s."
DURATION = "is not a valid duration; use a number with ms, s, m, h, d or w, such as 30s."
CLIENTS = "in it, which not all clients read alike; use printable ASCII except ' ` \\ and ${."

WRONG: list[tuple[str, Any, str]] = [
    ("stack_bind_address", "localhost", f"stack_bind_address 'localhost' {ADDRESS}"),
    ("stack_bind_address", "::1", f"stack_bind_address '::1' {ADDRESS}"),
    ("stack_bind_address", "127.0.0.256", f"stack_bind_address '127.0.0.256' {ADDRESS}"),
    ("stack_network_subnet", "word", f"stack_network_subnet 'word' {SUBNET}"),
    ("stack_network_subnet", "172.30.57.1/24", f"stack_network_subnet '172.30.57.1/24' {SUBNET}"),
    ("stack_network_subnet", "172.30.57.0/30", f"stack_network_subnet '172.30.57.0/30' {SUBNET}"),
    ("stack_dir", "stacks/one", f"stack_dir 'stacks/one' {DIRECTORY}"),
    ("stack_dir", "~/one", f"stack_dir '~/one' {DIRECTORY}"),
    ("stack_dir", "", f"stack_dir '' {DIRECTORY}"),
    ("stack_dir", "/srv/a:b", f"stack_dir '/srv/a:b' {DIRECTORY}"),
    ("stack_dir", "/srv/a#b", f"stack_dir '/srv/a#b' {DIRECTORY}"),
    ("stack_dir", "/srv/stack/", f"stack_dir '/srv/stack/' {DIRECTORY}"),
    ("stack_dir", "/srv/../etc", f"stack_dir '/srv/../etc' {DIRECTORY}"),
    ("stack_delta_tables_dir", "/opt", f"stack_delta_tables_dir '/opt' {DIRECTORY}"),
    ("kafka_port", 70000, f"kafka_port 70000 {PORT}"),
    ("kafka_port", -1, f"kafka_port -1 {PORT}"),
    ("kafka_port", 0, f"kafka_port 0 {PORT}"),
    ("kafka_port", "a lot", "kafka_port 'a lot' is not a whole number; use digits alone."),
    ("kafka_port", True, "kafka_port True is not a whole number; use digits alone."),
    ("spark_cluster_driver_ports", [7078, 0], f"spark_cluster_driver_ports 0 {PORT}"),
    ("kafka_memory", "lots", f"kafka_memory 'lots' {MEMORY}"),
    ("kafka_memory", "-96m", f"kafka_memory '-96m' {MEMORY}"),
    ("kafka_memory", 96, f"kafka_memory 96 {MEMORY}"),
    ("kafka_memory", "1m", f"kafka_memory '1m' {MEMORY}"),
    ("kafka_heap", "-96m", f"kafka_heap '-96m' {HEAP}"),
    ("kafka_heap", "96", f"kafka_heap '96' {HEAP}"),
    ("stack_health_interval", "fast", f"stack_health_interval 'fast' {INTERVAL}"),
    ("stack_health_interval", 5, f"stack_health_interval 5 {INTERVAL}"),
    ("stack_health_interval", "0s", f"stack_health_interval '0s' {INTERVAL}"),
    ("prometheus_scrape_interval", "-5s", f"prometheus_scrape_interval '-5s' {DURATION}"),
    ("stack_start_timeout", -5, "stack_start_timeout -5 is too small; use 1 or more."),
    ("stack_start_timeout", "soon", "stack_start_timeout 'soon' is not a whole number; use digits alone."),
    ("stack_container_uid", 0, "stack_container_uid 0 is too small; use 1 or more."),
    ("stack_min_memory_mb", -1, "stack_min_memory_mb -1 is too small; use 0 or more."),
    ("stack_build_images", "maybe", "stack_build_images 'maybe' is neither true nor false; use one of them."),
    (
        "stack_services",
        "webhook_receiver",
        "stack_services 'webhook_receiver' is not a list; use [webhook_receiver].",
    ),
    (
        "stack_services",
        "kafka,alertmanager",
        "stack_services 'kafka,alertmanager' is not a list; use [kafka, alertmanager].",
    ),
    (
        "stack_services",
        ["kafka", "compose_service", "nope"],
        "stack_services names compose_service, nope; use any of: alertmanager, kafka, webhook_receiver.",
    ),
    ("stack_services", [], "stack_services [] leaves nothing to deploy; name a service, or run `make down`."),
    (
        "stack_profiles",
        "core,storag",
        "stack_profiles names storag; use any of: core, storage, zookeeper, dashboards, logs.",
    ),
    (
        "stack_project",
        "CDC-Workstation",
        "stack_project 'CDC-Workstation' is not a valid project name; use lower-case letters, digits, - and _, a "
        "letter or digit first.",
    ),
    (
        "stack_registry",
        "http://x",
        "stack_registry 'http://x' is not a valid registry; use host:port/path, lower case, without a scheme.",
    ),
    ("kafka_log_level", "LOUD", "kafka_log_level 'LOUD' is not valid; use one of: TRACE, DEBUG, INFO, WARN, ERROR."),
    ("kafka_extra_properties", "a=b", "kafka_extra_properties 'a=b' is not a mapping; use {name: value}."),
    ("stack_image_prefix", None, "stack_image_prefix None is not text; use one value, in quotes."),
    (
        "mysql_user",
        "it's",
        'mysql_user "it\'s" is not a valid identifier; use at most 32 letters, digits and _, no digit first.',
    ),
    ("mysql_password", 12345678, "mysql_password is a number for YAML and not text; put it in quotes."),
    ("mysql_password", True, "mysql_password is true or false for YAML and not text; put it in quotes."),
    ("mysql_password", "it's", f'mysql_password has "\'" {CLIENTS}'),
    ("mysql_password", "x${HOME}y", f"mysql_password has '${{' {CLIENTS}"),
    ("mysql_password", "back\\slash", f"mysql_password has '\\\\' {CLIENTS}"),
    ("mysql_password", "two\nlines", f"mysql_password has '\\n' {CLIENTS}"),
    ("mysql_password", "schön", f"mysql_password has 'ö' {CLIENTS}"),
    (
        "mysql_password",
        "spaced ",
        "mysql_password starts or ends with a space, which not all clients keep; use one that does not.",
    ),
    ("minio_password", "short", "minio_password is too short; MinIO takes 8 characters or more."),
    (
        "spark_connect_token",
        "a;b/c",
        "spark_connect_token has '/', ';' in it, which not all clients read alike; use letters, digits and . _ ~ + = "
        "-.",
    ),
    (
        "alertmanager_secrets",
        {"hook": 5},
        "alertmanager_secrets.hook is a number for YAML and not text; put it in quotes.",
    ),
]


@pytest.fixture(scope="module")
def rules(load: Callable[[str], ModuleType]) -> Any:
    return load("roles/stack/module_utils/setting_rules.py")


@pytest.mark.parametrize(("name", "value", "said"), WRONG, ids=[f"{name}={value!r}" for name, value, _ in WRONG])
def test_one_sentence_names_the_setting_its_value_and_what_is_right(
    rules: Any, name: str, value: Any, said: str
) -> None:
    assert rules.judge({name: value}, OPTIONS, SERVICES) == [said]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("stack_bind_address", "0.0.0.0"),  # noqa: S104
        ("stack_connect_address", "vm.example"),
        ("stack_dir", "/home/me/.local/share/cdc-workstation"),
        ("stack_registry", ""),
        ("stack_registry", "localhost:5000/team"),
        ("stack_services", ["kafka"]),
        ("stack_profiles", "core, storage"),
        ("kafka_port", "19092"),
        ("kafka_memory", "1g"),
        ("kafka_retention_hours", -1),
        ("stack_health_interval", "1m30s"),
        ("prometheus_retention_time", "2d"),
        ("prometheus_connector_failed_for", "0s"),
        ("spark_warehouse_dir", "s3a://delta/warehouse"),
        ("delta_sink_tables", "s3a://delta/tables"),
        ("mysql_password", ""),
        ("mysql_password", "".join(chr(c) for c in range(33, 127) if chr(c) not in "'`\\") + " end"),
        ("spark_s3_endpoint", ""),
    ],
)
def test_right_values_are_accepted(rules: Any, name: str, value: Any) -> None:
    assert rules.judge({name: value}, OPTIONS, SERVICES) == []


@pytest.mark.parametrize("role", sorted(role for role in SPECS if not role.startswith("compose_")))
def test_defaults_of_all_roles_are_accepted(rules: Any, role: str) -> None:
    defaults = yaml.safe_load((ROOT / "roles" / role / "defaults" / "main.yml").read_text()) or {}
    plain = {name: value for name, value in defaults.items() if "{{" not in str(value) and value is not None}

    assert rules.judge(plain, OPTIONS) == []


def test_a_secret_is_never_part_of_the_message(rules: Any) -> None:
    said = rules.judge({"mysql_password": "hunter2'hunter2", "postgres_password": 99887766}, OPTIONS)

    assert len(said) == 2
    assert not any("hunter2" in sentence or "99887766" in sentence for sentence in said)


def test_all_problems_are_returned(rules: Any) -> None:
    assert len(rules.judge({"kafka_port": 0, "kafka_memory": "x", "stack_dir": "x"}, OPTIONS)) == 3


def test_a_gateway_outside_of_the_range_is_given_the_right_one(rules: Any) -> None:
    settings = {"stack_network_subnet": "10.9.0.0/24", "stack_network_gateway": "172.30.57.1"}

    assert rules.judge(settings, OPTIONS) == [
        "stack_network_gateway '172.30.57.1' is not an address of 10.9.0.0/24; use 10.9.0.1."
    ]


@pytest.mark.parametrize(
    ("private", "address", "said"),
    [
        (True, "127.0.0.1", []),
        (False, "192.0.2.1", []),
        (
            "yes",
            "192.0.2.1",
            ["stack_bind_address '192.0.2.1' is not on loopback, and stack_private is true; use 127.0.0.1."],
        ),
    ],
)
def test_a_private_stack_is_not_published_for_other_machines(
    rules: Any, private: object, address: str, said: list[str]
) -> None:
    assert rules.judge({"stack_private": private, "stack_bind_address": address}, OPTIONS) == said


def test_a_heap_must_fit_into_the_containers_memory(rules: Any) -> None:
    assert rules.judge({"kafka_heap": "1g", "kafka_memory": "512m"}, OPTIONS) == [
        "kafka_heap '1g' is not below kafka_memory '512m'; use half of that."
    ]


def test_accounts_of_one_server_must_differ(rules: Any) -> None:
    settings = {"mysql_user": "root", "postgres_user": "me", "postgres_debezium_user": "me"}

    assert rules.judge(settings, OPTIONS) == [
        "mysql_user 'root' is the account of mysql itself; use a name of its own.",
        "postgres_debezium_user 'me' is postgres_user as well; use a name of its own.",
    ]


def test_the_stacks_directory_and_the_tables_are_apart(rules: Any) -> None:
    [said] = rules.judge({"stack_dir": "/srv/one", "stack_delta_tables_dir": "/srv/one/tables"}, OPTIONS)

    assert said.endswith("lie in each other; use two separate directories.")
