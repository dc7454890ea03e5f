"""What the roles render with their defaults: fragments, configuration, secrets, connection lines."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from cdc_workstation.sink.settings import SinkSettings

ROOT = Path(__file__).parents[2]
RENDERING = Path(__file__).parent / "rendering"
ROLES = sorted(path.parents[1].name for path in (ROOT / "roles").glob("*/templates/compose.yml.j2"))
DASHBOARDS = sorted((ROOT / "dashboards").glob("*.json"))
# The host on the stack's own network.
GATEWAY = "172.30.57.1"
# What connection.env calls things (the design, section 4).
NAMES = {
    "mysql": {"MYSQL_HOST", "MYSQL_PORT", "MYSQL_DATABASE", "MYSQL_USER", "MYSQL_PASSWORD"},
    "postgres": {"POSTGRES_HOST", "POSTGRES_PORT", "POSTGRES_DATABASE", "POSTGRES_USER", "POSTGRES_PASSWORD"},
    "kafka": {"KAFKA_BOOTSTRAP_SERVERS"},
    "debezium": {"DEBEZIUM_URL", "DEBEZIUM_USER", "DEBEZIUM_PASSWORD"},
    "spark": {"SPARK_MASTER_URL", "SPARK_REMOTE", "DELTA_TABLES_DIR"},
    "delta_sink": {"DELTA_SINK_URL", "DELTA_SINK_TABLES", "DELTA_TABLES_DIR"},
    "prometheus": {"PROMETHEUS_URL"},
    "alertmanager": {"ALERTMANAGER_URL"},
    "webhook_receiver": {"WEBHOOK_URL"},
    "zookeeper": {"ZOOKEEPER_CONNECT"},
    "grafana": {"GRAFANA_URL"},
    "loki": {"LOKI_URL"},
    "minio": {"S3_ENDPOINT_URL", "S3_REGION", "S3_BUCKET", "S3_ACCESS_KEY_ID", "S3_SECRET_ACCESS_KEY"},
}

# The sink where Spark's workers have hosts of their own.
CLUSTER = {
    "delta_sink_engine": "spark",
    "delta_sink_tables": "s3a://delta/cdc",
    "spark_cluster_address": "127.0.0.11",
    "spark_cluster_master": "127.0.0.11",
    "spark_cluster_workers": ["127.0.0.12"],
    "spark_s3_endpoint": "http://127.0.0.11:9000",
}

# The first test waits for the run that all others look at.
pytestmark = pytest.mark.timeout(600)


@dataclass
class Rendered:
    """What one run of all roles left, and what it asked the engine."""

    directory: Path
    builds: str
    output: str

    def fragments(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Name and declaration of every service."""
        for path in sorted(self.directory.glob("*/compose.yml")):
            yield from yaml.safe_load(path.read_text())["services"].items()


def declare(directory: Path, roles: list[str], **settings: Any) -> Rendered:
    """Declare services into a directory of their own, with an engine that only says yes."""
    stack, log = directory / "stack", directory / "engine.log"
    log.touch()
    variables = {
        **settings,
        "declared_services": roles,
        "stack_dir": str(stack),
        "stack_delta_tables_dir": str(directory / "delta-tables"),
        "stack_base_images": {suite: f"example/debian:{suite}" for suite in ("bookworm", "trixie")},
    }
    environment = {
        **os.environ,
        "PATH": f"{RENDERING}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        "ENGINE_LOG": str(log),
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_STDOUT_CALLBACK": "default",
        "ANSIBLE_ROLES_PATH": str(ROOT / "roles"),
    }
    # What roles install and set up on the host is not for a test that has no stack.
    playbook = ["ansible-playbook", "-i", "localhost,", "--skip-tags=host", "-e", json.dumps(variables)]
    run = subprocess.run(
        [*playbook, str(RENDERING / "render.yml")],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, (run.stdout + run.stderr)[-4000:]
    return Rendered(stack, log.read_text(), run.stdout + run.stderr)


@pytest.fixture(scope="session")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Rendered:
    """Every service, with its defaults."""
    return declare(tmp_path_factory.mktemp("rendered"), ROLES)


@pytest.fixture(scope="session")
def with_logs(tmp_path_factory: pytest.TempPathFactory) -> Rendered:
    """A service, and the profiles that draw it and keep its logs."""
    roles = ["alertmanager", "grafana", "loki"]
    return declare(tmp_path_factory.mktemp("with-logs"), roles, stack_services=roles)


@pytest.fixture(scope="session")
def services(rendered: Rendered) -> dict[str, dict[str, Any]]:
    """All services of all roles by name."""
    return dict(rendered.fragments())


def test_every_role_declares_its_services(rendered: Rendered) -> None:
    assert {path.parent.name for path in rendered.directory.glob("*/compose.yml")} == {
        role.replace("_", "-") for role in ROLES
    }


def test_a_service_follows_the_one_whose_image_it_builds_on(tmp_path: Path) -> None:
    tags = re.findall(r"--tag cdc-workstation/([a-z-]+):", declare(tmp_path, ["kafka", "debezium"]).builds)

    assert tags == ["kafka", "debezium"]


def test_the_sink_needs_neither_spark_nor_its_image(tmp_path: Path) -> None:
    sink = declare(tmp_path, ["delta_sink"], stack_services=["kafka", "delta_sink"])

    assert re.findall(r"--tag cdc-workstation/([a-z-]+):", sink.builds) == ["delta-sink"]
    assert list(dict(sink.fragments())["delta-sink"]["depends_on"]) == ["kafka"]


def test_the_engine_builds_each_image_once(rendered: Rendered) -> None:
    tags = re.findall(r"--tag (\S+)", rendered.builds)

    assert len(tags) == len(set(tags)) >= len(ROLES)
    assert all(re.fullmatch(r"cdc-workstation/[a-z-]+:[\w.-]+-[0-9a-f]{12}", tag) for tag in tags), tags


def test_a_build_knows_the_proxy_however_it_is_spelled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HTTPS_PROXY", raising=False)
    monkeypatch.setenv("https_proxy", "http://proxy.example:3128")

    builds = declare(tmp_path, ["webhook_receiver"]).builds

    for name in ("HTTPS_PROXY", "https_proxy"):
        assert f"--build-arg {name}=http://proxy.example:3128" in builds


def test_every_service_runs_an_image_of_ours(services: dict[str, Any], rendered: Rendered) -> None:
    built = set(re.findall(r"--tag (\S+)", rendered.builds))

    assert {service["image"] for service in services.values()} <= built


def test_every_published_port_binds_loopback(services: dict[str, Any]) -> None:
    ports = [(name, str(port)) for name, service in services.items() for port in service.get("ports", [])]
    inside = [(name, port) for name, port in ports if port.startswith(f"{GATEWAY}:")]

    assert [(n, p) for n, p in set(ports) - set(inside) if not p.startswith("127.0.0.1:")] == []
    # On the stack's own network only what is on loopback, too.
    assert {(n, p.replace(GATEWAY, "127.0.0.1")) for n, p in inside} <= set(ports)


def test_no_two_services_publish_one_port(services: dict[str, Any]) -> None:
    published = [port for service in services.values() for port in service.get("ports", [])]
    ports = [port.split(":")[1] for port in published if not port.startswith(GATEWAY)]

    assert len(ports) == len(set(ports))


def test_every_service_has_a_memory_limit(services: dict[str, Any]) -> None:
    assert [name for name, service in services.items() if not service.get("mem_limit")] == []


def test_every_service_has_a_health_check_that_is_quick_to_see_it_ready(services: dict[str, Any]) -> None:
    for name, service in services.items():
        check = service["healthcheck"]
        assert check["test"], name
        assert float(check["interval"].removesuffix("s")) <= 5, name


def test_every_service_says_its_version(services: dict[str, Any]) -> None:
    assert [name for name, one in services.items() if not one["labels"].get("cdc-workstation.version")] == []


def test_every_service_is_confined(services: dict[str, Any]) -> None:
    for name, service in services.items():
        assert service["cap_drop"] == ["ALL"], name
        assert "no-new-privileges:true" in service["security_opt"], name
        assert str(service["user"]).partition(":")[0] not in {"0", "root"}, name
        assert service["restart"].startswith("on-failure"), name
        assert not service.get("privileged"), name


def test_no_password_is_in_an_environment_or_a_command(services: dict[str, Any], rendered: Rendered) -> None:
    secrets = {path.read_text() for path in (rendered.directory / "secrets").glob("*")}

    for name, service in services.items():
        text = json.dumps(service)
        assert not [secret for secret in secrets if secret and secret in text], name


def test_secrets_and_connection_lines_are_the_owners_alone(rendered: Rendered) -> None:
    private = [
        path
        for directory in ("secrets", "connection.d", "*/private")
        for path in rendered.directory.glob(f"{directory}/**/*")
        if path.is_file()
    ]

    assert private
    assert [str(path) for path in private if path.stat().st_mode & 0o777 != 0o600] == []


def test_configuration_says_that_it_is_managed(rendered: Rendered) -> None:
    files = [
        path
        for pattern in ("*/compose.yml", "*/config/**/*", "*/private/**/*")
        for path in rendered.directory.glob(pattern)
        if path.is_file() and path.suffix != ".json"
    ]

    assert files
    assert [str(path) for path in files if "Ansible managed" not in path.read_text()[:600]] == []


def test_nothing_is_left_unrendered(rendered: Rendered) -> None:
    for path in rendered.directory.glob("*/c*/**/*"):
        if path.is_file():
            assert not re.search(r"\{%|%\}|AnsibleUndefined", path.read_text()), path


@pytest.mark.parametrize("role", sorted(set(NAMES) & set(ROLES)))
def test_connection_lines_carry_the_names_that_tools_use(rendered: Rendered, role: str) -> None:
    lines = (rendered.directory / "connection.d" / f"{role.replace('_', '-')}.env").read_text().splitlines()

    assert NAMES[role] <= {line.partition("=")[0] for line in lines}
    assert all(re.fullmatch(r"[A-Z][A-Z0-9_]*=\S+", line) for line in lines if not line.startswith("#"))


def test_scrape_targets_are_services_of_the_stack(rendered: Rendered, services: dict[str, Any]) -> None:
    for path in (rendered.directory / "targets").glob("*.json"):
        for group in json.loads(path.read_text()):
            assert group["labels"]["job"], path
            assert all(target.partition(":")[0] in services for target in group["targets"]), path


def test_a_service_can_be_deployed_without_the_others(services: dict[str, Any]) -> None:
    own = {name: path.parent.name for path, name in owners(services)}
    for name, service in services.items():
        waits = service.get("depends_on", {})
        needed = [n for n in waits if isinstance(waits, list) or waits[n].get("required", True)]
        assert [n for n in needed if own.get(n) != own.get(name)] == [], name


def settings_of_the_sink(directory: Path) -> dict[str, Any]:
    """Return the sink's settings as its role rendered them."""
    found: dict[str, Any] = json.loads((directory / "delta-sink/config/sink.json").read_text())
    return found


def test_sink_accepts_its_rendered_settings(rendered: Rendered) -> None:
    settings = SinkSettings.model_validate(settings_of_the_sink(rendered.directory))

    assert settings.engine == "embedded"
    assert settings.table_properties == {"delta.enableChangeDataFeed": "true"}
    assert not settings.storage_options


def test_sink_defaults_are_the_same_in_role_and_code(rendered: Rendered) -> None:
    code = SinkSettings(table_properties={"delta.enableChangeDataFeed": "true"})
    role = SinkSettings.model_validate(settings_of_the_sink(rendered.directory))

    # Where tables and databases are, only the role knows.
    elsewhere = {"tables", "drift"}
    assert role.model_dump(exclude=elsewhere) == code.model_dump(exclude=elsewhere)
    assert role.drift.interval_seconds == code.drift.interval_seconds


def test_sink_counts_rows_with_the_accounts_that_debezium_reads_with(rendered: Rendered) -> None:
    fragment = yaml.safe_load((rendered.directory / "delta-sink/compose.yml").read_text())
    sources = SinkSettings.model_validate(settings_of_the_sink(rendered.directory)).drift.sources

    assert [(one.kind, one.user) for one in sources] == [("mysql", "debezium"), ("postgres", "debezium")]
    assert [one.password_file.name for one in sources] == fragment["services"]["delta-sink"]["secrets"]


@pytest.mark.parametrize(
    "settings", [{"delta_sink_drift_interval_seconds": 0}, {"stack_services": ["kafka", "delta_sink"]}], ids=str
)
def test_sink_counts_no_rows_if_it_should_not_or_no_database_is_there(tmp_path: Path, settings: dict[str, Any]) -> None:
    directory = declare(tmp_path, ["delta_sink"], **settings).directory

    assert settings_of_the_sink(directory)["drift"]["sources"] == []
    assert "secrets" not in yaml.safe_load((directory / "delta-sink/compose.yml").read_text())


def test_sink_on_a_cluster_gets_its_endpoints_and_secrets(tmp_path_factory: pytest.TempPathFactory) -> None:
    services = ["spark", "delta_sink"]
    cluster = declare(tmp_path_factory.mktemp("cluster"), services, **CLUSTER, stack_services=services).directory
    fragment = yaml.safe_load((cluster / "delta-sink/compose.yml").read_text())
    settings = SinkSettings.model_validate(settings_of_the_sink(cluster))

    assert (settings.engine, settings.tables) == ("spark", "s3a://delta/cdc")
    assert settings.spark_remote == "sc://spark-connect:15002"
    assert settings.storage_options["AWS_ENDPOINT_URL"] == "http://127.0.0.11:9000"
    assert settings.storage_options["AWS_ALLOW_HTTP"] == "true"
    mounted = {settings.spark_token_file, *settings.storage_secret_files.values()}
    assert mounted == {Path("/run/secrets", name) for name in fragment["secrets"]}
    assert {Path(one["file"]) for one in fragment["secrets"].values()} == {
        cluster / "secrets" / name for name in ("spark_connect_token", "minio_password")
    }
    assert "spark-connect" in fragment["services"]["delta-sink"]["depends_on"]


@pytest.mark.parametrize(
    ("settings", "secrets"),
    [
        ({"delta_sink_spark_remote": "sc://spark.example:15002"}, []),
        ({"delta_sink_spark_remote": "sc://spark.example:443/;use_ssl=true", "delta_sink_spark_token": "a-token"},
         ["delta_sink_spark_token"]),
        ({"spark_connect_authenticate": False}, []),
        ({}, ["spark_connect_token"]),
    ],
    ids=["another server", "another server with a token", "the stack's without a token", "the stack's"],
)  # fmt: skip
def test_sink_takes_the_token_of_its_own_server(tmp_path: Path, settings: dict[str, Any], secrets: list[str]) -> None:
    sink = declare(
        tmp_path, ["delta_sink"], delta_sink_engine="spark", delta_sink_drift_interval_seconds=0, **settings
    ).directory
    fragment = yaml.safe_load((sink / "delta-sink/compose.yml").read_text())
    file = settings_of_the_sink(sink)["spark_token_file"]

    assert list(fragment.get("secrets", {})) == secrets
    assert file == (f"/run/secrets/{secrets[0]}" if secrets else None)


def test_variable_of_the_first_sink_gets_a_warning_and_the_run_goes_on(tmp_path: Path) -> None:
    sink = declare(tmp_path, ["delta_sink"], delta_sink_heap="1g", delta_sink_trigger_interval="1 second")
    warnings = " ".join(sink.output.split())

    assert "delta_sink_heap is no longer used: the sink has no JVM; set delta_sink_memory." in warnings
    assert "delta_sink_trigger_interval is no longer used" in warnings
    assert "delta_sink_master" not in warnings


@pytest.mark.parametrize(
    ("settings", "has_executors"), [({}, False), ({"spark_connect_master": "spark://spark-master:7077"}, True)]
)
def test_connect_knows_the_class_path_of_executors_where_it_has_some(
    settings: dict[str, Any], has_executors: bool, tmp_path: Path
) -> None:
    # Where it runs tasks itself, each session would open all jars of it.
    directory = declare(tmp_path, ["spark"], **settings).directory
    properties = (directory / "spark/private/spark-defaults.conf").read_text()
    assert ("spark.executor.extraClassPath" in properties) is has_executors


def test_workers_on_other_hosts_are_scraped_where_they_listen(tmp_path: Path) -> None:
    directory = declare(tmp_path, ["spark"], **CLUSTER, spark_worker_ui_port=28081).directory
    groups = json.loads((directory / "targets/spark.json").read_text())

    assert [g["targets"] for g in groups if g["labels"]["job"] == "spark-worker"] == [["127.0.0.12:28081"]]


@pytest.mark.parametrize(
    "wrong",
    [
        CLUSTER | {"delta_sink_tables": "/opt/delta-tables"},
        {"delta_sink_tables": "/elsewhere"},
        {"delta_sink_tables": "s3a://delta/cdc"},
    ],
    ids=["a directory of one host", "not shared with the container", "no object storage"],
)
def test_tables_that_not_all_find_are_refused(tmp_path: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(AssertionError, match="delta_sink_tables is"):
        declare(tmp_path, ["delta_sink"], stack_services=["spark", "delta_sink"], **wrong)


@pytest.mark.parametrize("wrong", [{"minio_password": "short"}, {"minio_buckets": []}, {"minio_user": "me"}], ids=str)
def test_what_minio_would_end_itself_for_is_refused(tmp_path: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(AssertionError, match="MinIO takes at least"):
        declare(tmp_path, ["minio"], **wrong)


def test_published_on_all_addresses_no_port_is_bound_twice(tmp_path: Path) -> None:
    rendered = declare(tmp_path, ["minio"], stack_services=["minio"], stack_bind_address="0.0.0.0")  # noqa: S104
    [(_, service)] = rendered.fragments()

    assert service["ports"] == ["0.0.0.0:9000:9000", "0.0.0.0:9001:9001"]


def test_kafka_on_zookeeper_has_the_older_broker_and_a_volume_of_its_own(tmp_path: Path) -> None:
    services = ["kafka", "zookeeper"]
    directory = declare(tmp_path, services, stack_services=services).directory
    kafka = yaml.safe_load((directory / "kafka/compose.yml").read_text())["services"]["kafka"]
    properties = (directory / "kafka/config/server.properties").read_text()

    assert "zookeeper.connect=zookeeper:2181/kafka" in properties
    assert "process.roles" not in properties
    assert any(volume.startswith("kafka-zookeeper-data:") for volume in kafka["volumes"])
    assert "zookeeper" in kafka["depends_on"]


def provisioned(rendered: Rendered, what: str) -> list[dict[str, Any]]:
    """Return what Grafana is provisioned with."""
    found: dict[str, list[dict[str, Any]]] = yaml.safe_load(
        (rendered.directory / "grafana" / "config" / what / "stack.yml").read_text()
    )
    return found["providers" if what == "dashboards" else what]


def test_grafana_is_given_the_dashboards_of_the_repository(with_logs: Rendered) -> None:
    config, mounted = with_logs.directory / "grafana" / "config", Path("/etc/grafana/provisioning")
    paths = [Path(one["options"]["path"]) for one in provisioned(with_logs, "dashboards")]
    given = {file.name: file for path in paths for file in (config / path.relative_to(mounted)).iterdir()}

    assert {name: file.read_bytes() for name, file in given.items()} == {
        file.name: file.read_bytes() for file in DASHBOARDS
    }


def test_grafana_has_every_data_source_that_the_dashboards_ask(with_logs: Rendered, rendered: Rendered) -> None:
    asked = set(re.findall(r'"uid": "(prometheus|loki)"', "".join(p.read_text() for p in DASHBOARDS)))

    assert asked <= {source["uid"] for source in provisioned(with_logs, "datasources")}
    # Where nobody keeps logs, there is nothing to show of them.
    assert "loki" not in {source["uid"] for source in provisioned(rendered, "datasources")}
    assert [one["name"] for one in provisioned(rendered, "dashboards")] == ["pipeline"]


def test_with_loki_the_engine_sends_the_lines_of_all_others_to_it(with_logs: Rendered, rendered: Rendered) -> None:
    services = dict(with_logs.fragments())
    drivers = {name: service["logging"]["driver"] for name, service in services.items()}
    [listening] = services["alloy"]["ports"]
    sent_to = services["alertmanager"]["logging"]["options"]["gelf-address"]

    assert drivers == {"alertmanager": "gelf", "grafana": "gelf", "loki": "json-file", "alloy": "json-file"}
    assert f"{sent_to}:12201/udp" == f"udp://{listening}"
    assert {service["logging"]["driver"] for _, service in rendered.fragments()} == {"json-file"}


def owners(services: dict[str, Any]) -> list[tuple[Path, str]]:
    """Return (fragment's template, service) by what the templates name."""
    found = []
    for path in (ROOT / "roles").glob("*/templates/compose.yml.j2"):
        found += [(path.parent, name) for name in services if re.search(rf"^  {name}:", path.read_text(), re.MULTILINE)]
    return found
