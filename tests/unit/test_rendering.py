"""What the roles declare: fragments, configuration, secrets, connection lines."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from declarations import BASE_IMAGES, ROOT, SERVICES, STACK_DIR, Declared, declare, refusals

from cdc_workstation.sink.settings import SinkSettings

RENDERING = Path(__file__).parent / "rendering"
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


@pytest.fixture(scope="session")
def declared() -> Declared:
    """Every service, with its defaults."""
    return declare(*SERVICES)


@pytest.fixture(scope="session")
def with_logs() -> Declared:
    """A service, and the profiles that draw it and keep its logs."""
    roles = ["alertmanager", "grafana", "loki"]
    return declare(*roles, stack_services=roles)


@pytest.fixture(scope="session")
def services(declared: Declared) -> dict[str, dict[str, Any]]:
    """All containers of all services by name."""
    return declared.containers


def settings_of_the_sink(declared: Declared) -> dict[str, Any]:
    """Return the sink's settings as its role rendered them."""
    found: dict[str, Any] = json.loads(declared.files["delta-sink/config/sink.json"])
    return found


def test_service_follows_the_one_whose_image_it_builds_on() -> None:
    declared = declare("debezium", "kafka")

    assert declared.builds() == ["kafka", "debezium"]
    assert declared.builds("kafka") == ["debezium"]


def test_image_is_not_built_for_one_that_is_there() -> None:
    debezium = declare("debezium")

    assert debezium.builds("debezium") == []
    assert debezium.builds() == ["kafka", "debezium"]


def test_sink_needs_neither_spark_nor_its_image() -> None:
    sink = declare("delta_sink", stack_services=["kafka", "delta_sink"])

    assert sink.builds() == ["delta-sink"]
    assert list(sink.containers["delta-sink"]["depends_on"]) == ["kafka"]


def test_each_image_is_built_once_and_named_by_its_content(declared: Declared) -> None:
    built = [declared.images[service]["name"] for service in declared.builds()]

    assert len(built) == len(set(built)) == len(SERVICES)
    assert all(re.fullmatch(r"cdc-workstation/[a-z-]+:[\w.-]+-[0-9a-f]{12}", name) for name in built), built


def test_every_service_runs_an_image_of_ours(services: dict[str, Any], declared: Declared) -> None:
    built = {image["name"] for image in declared.images.values()}

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


def test_every_health_check_is_quick_to_see_its_service_ready(services: dict[str, Any]) -> None:
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


def test_no_password_is_in_an_environment_or_a_command(services: dict[str, Any], declared: Declared) -> None:
    assert declared.secrets
    for name, service in services.items():
        text = json.dumps(service)
        assert not [secret for secret, value in declared.secrets.items() if value in text], name


def test_no_password_is_in_a_file_that_others_may_read(declared: Declared) -> None:
    for service in declared.services.values():
        for path, text in service["public"].items():
            assert not [secret for secret, value in declared.secrets.items() if value in text], path


def test_connection_lines_are_for_their_owner_alone(declared: Declared) -> None:
    for name, service in declared.services.items():
        assert f"connection.d/{name}.env" in service["private"]


def test_configuration_says_that_it_is_managed(declared: Declared) -> None:
    files = {
        path: text
        for path, text in declared.files.items()
        if re.search(r"/compose\.yml$|/config/|/private/|/host-conf/", path) and not path.endswith(".json")
    }

    assert files
    assert [path for path, text in files.items() if "Ansible managed" not in text[:600]] == []


def test_nothing_is_left_unrendered(declared: Declared) -> None:
    for path, text in declared.files.items():
        assert not re.search(r"\{%|%\}|AnsibleUndefined", text), path


@pytest.mark.parametrize("role", sorted(set(NAMES) & set(SERVICES)))
def test_connection_lines_carry_the_names_that_tools_use(declared: Declared, role: str) -> None:
    lines = declared.files[f"connection.d/{role.replace('_', '-')}.env"].splitlines()

    assert NAMES[role] <= {line.partition("=")[0] for line in lines}
    assert all(re.fullmatch(r"[A-Z][A-Z0-9_]*=\S+", line) for line in lines if not line.startswith("#"))


def test_scrape_targets_are_services_of_the_stack(declared: Declared, services: dict[str, Any]) -> None:
    for service in declared.services:
        for group in json.loads(declared.files[f"targets/{service}.json"]):
            assert group["labels"]["job"], service
            assert all(target.partition(":")[0] in services for target in group["targets"]), service


def test_service_can_be_deployed_without_the_others(declared: Declared) -> None:
    for service in declared.services:
        own = declared.fragment(service)["services"]
        for name, container in own.items():
            waits = container.get("depends_on", {})
            needed = [n for n in waits if isinstance(waits, list) or waits[n].get("required", True)]
            assert set(needed) <= set(own), name


def test_sink_accepts_its_rendered_settings(declared: Declared) -> None:
    settings = SinkSettings.model_validate(settings_of_the_sink(declared))

    assert settings.engine == "embedded"
    assert settings.table_properties == {"delta.enableChangeDataFeed": "true"}
    assert not settings.storage_options


def test_sink_defaults_are_the_same_in_role_and_code(declared: Declared) -> None:
    code = SinkSettings(table_properties={"delta.enableChangeDataFeed": "true"})
    role = SinkSettings.model_validate(settings_of_the_sink(declared))

    # Where tables and databases are and who asks for metrics, only the role knows.
    elsewhere = {"tables", "drift", "metrics_hosts"}
    assert role.model_dump(exclude=elsewhere) == code.model_dump(exclude=elsewhere)
    assert role.drift.interval_seconds == code.drift.interval_seconds


def test_sink_counts_rows_with_the_accounts_that_debezium_reads_with(declared: Declared) -> None:
    fragment = declared.fragment("delta-sink")
    sources = SinkSettings.model_validate(settings_of_the_sink(declared)).drift.sources

    assert [(one.kind, one.user) for one in sources] == [("mysql", "debezium"), ("postgres", "debezium")]
    assert [one.password_file.name for one in sources] == fragment["services"]["delta-sink"]["secrets"]


@pytest.mark.parametrize(
    "settings", [{"delta_sink_drift_interval_seconds": 0}, {"stack_services": ["kafka", "delta_sink"]}], ids=str
)
def test_sink_counts_no_rows_if_it_should_not_or_no_database_is_there(settings: dict[str, Any]) -> None:
    sink = declare("delta_sink", **settings)

    assert settings_of_the_sink(sink)["drift"]["sources"] == []
    assert "secrets" not in sink.fragment("delta-sink")


def test_sink_on_a_cluster_gets_its_endpoints_and_secrets() -> None:
    roles = ["spark", "delta_sink"]
    cluster = declare(*roles, **CLUSTER, stack_services=roles)
    fragment = cluster.fragment("delta-sink")
    settings = SinkSettings.model_validate(settings_of_the_sink(cluster))

    assert (settings.engine, settings.tables) == ("spark", "s3a://delta/cdc")
    assert settings.spark_remote == "sc://spark-connect:15002"
    assert settings.storage_options["AWS_ENDPOINT_URL"] == "http://127.0.0.11:9000"
    assert settings.storage_options["AWS_ALLOW_HTTP"] == "true"
    mounted = {settings.spark_token_file, *settings.storage_secret_files.values()}
    assert mounted == {Path("/run/secrets", name) for name in fragment["secrets"]}
    assert {one["file"] for one in fragment["secrets"].values()} == {
        f"{STACK_DIR}/secrets/{name}" for name in ("spark_connect_token", "minio_password")
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
def test_sink_takes_the_token_of_its_own_server(settings: dict[str, Any], secrets: list[str]) -> None:
    sink = declare("delta_sink", delta_sink_engine="spark", delta_sink_drift_interval_seconds=0, **settings)
    file = settings_of_the_sink(sink)["spark_token_file"]

    assert list(sink.fragment("delta-sink").get("secrets", {})) == secrets
    assert file == (f"/run/secrets/{secrets[0]}" if secrets else None)


@pytest.mark.parametrize(
    ("settings", "has_executors"), [({}, False), ({"spark_connect_master": "spark://spark-master:7077"}, True)]
)
def test_connect_knows_the_class_path_of_its_executors(settings: dict[str, Any], has_executors: bool) -> None:
    # If it runs tasks itself, each session would open all jars of that path.
    properties = declare("spark", **settings).files["spark/private/spark-defaults.conf"]

    assert ("spark.executor.extraClassPath" in properties) is has_executors


def test_host_of_workers_alone_is_not_prepared_for_drivers() -> None:
    worker = declare("spark", **CLUSTER, spark_services=["worker"])

    assert not [path for path in worker.files if path.startswith("spark/host-conf/")]
    assert list(worker.secrets) == ["spark_auth_secret"]


def test_workers_on_other_hosts_are_scraped_where_they_listen() -> None:
    groups = json.loads(declare("spark", **CLUSTER, spark_worker_ui_port=28081).files["targets/spark.json"])

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
def test_tables_that_not_all_find_are_refused(wrong: dict[str, Any]) -> None:
    [message] = refusals("delta_sink", stack_services=["spark", "delta_sink"], **wrong)

    assert message.startswith(f"delta_sink_tables is {wrong['delta_sink_tables']}.")


@pytest.mark.parametrize("wrong", [{"minio_password": "short"}, {"minio_buckets": []}, {"minio_user": "me"}], ids=str)
def test_settings_that_minio_would_stop_for_are_refused(wrong: dict[str, Any]) -> None:
    [message] = refusals("minio", **wrong)

    assert message.startswith("MinIO takes at least")


@pytest.mark.parametrize("role", ["delta_sink", "minio"])
def test_defaults_are_not_refused(role: str) -> None:
    assert refusals(role) == []


def test_port_published_on_all_addresses_is_bound_once() -> None:
    minio = declare("minio", stack_services=["minio"], stack_bind_address="0.0.0.0")  # noqa: S104

    assert minio.containers["minio"]["ports"] == ["0.0.0.0:9000:9000", "0.0.0.0:9001:9001"]


def test_kafka_on_zookeeper_has_the_older_broker_and_a_volume_of_its_own() -> None:
    roles = ["kafka", "zookeeper"]
    declared = declare(*roles, stack_services=roles)
    kafka, properties = declared.containers["kafka"], declared.files["kafka/config/server.properties"]

    assert "zookeeper.connect=zookeeper:2181/kafka" in properties
    assert "process.roles" not in properties
    assert any(volume.startswith("kafka-zookeeper-data:") for volume in kafka["volumes"])
    assert "zookeeper" in kafka["depends_on"]


def provisioned(declared: Declared, what: str) -> list[dict[str, Any]]:
    """Return what Grafana is provisioned with."""
    found: dict[str, list[dict[str, Any]]] = yaml.safe_load(declared.files[f"grafana/config/{what}/stack.yml"])
    return found["providers" if what == "dashboards" else what]


def test_grafana_is_given_the_dashboards_of_the_repository(with_logs: Declared) -> None:
    mounted = "/etc/grafana/provisioning"
    folders = [f"grafana/config{one['options']['path'].removeprefix(mounted)}/" for one in
               provisioned(with_logs, "dashboards")]  # fmt: skip
    given = {path: text for path, text in with_logs.files.items() if path.startswith(tuple(folders))}

    assert {path.rpartition("/")[2]: text for path, text in given.items()} == {
        file.name: file.read_text() for file in DASHBOARDS
    }


def test_grafana_has_every_data_source_that_the_dashboards_ask(with_logs: Declared, declared: Declared) -> None:
    asked = set(re.findall(r'"uid": "(prometheus|loki)"', "".join(p.read_text() for p in DASHBOARDS)))

    assert asked <= {source["uid"] for source in provisioned(with_logs, "datasources")}
    # Without the profile `logs` there is nothing to show of them.
    assert "loki" not in {source["uid"] for source in provisioned(declared, "datasources")}
    assert [one["name"] for one in provisioned(declared, "dashboards")] == ["pipeline"]


def test_with_loki_the_lines_of_all_others_are_sent_to_it(with_logs: Declared, declared: Declared) -> None:
    services = with_logs.containers
    drivers = {name: service["logging"]["driver"] for name, service in services.items()}
    [listening] = services["alloy"]["ports"]
    sent_to = services["alertmanager"]["logging"]["options"]["gelf-address"]

    assert drivers == {"alertmanager": "gelf", "grafana": "gelf", "loki": "json-file", "alloy": "json-file"}
    assert f"{sent_to}:12201/udp" == f"udp://{listening}"
    assert {service["logging"]["driver"] for service in declared.containers.values()} == {"json-file"}


@dataclass
class Run:
    """What one run of Ansible left, and what it asked the engine."""

    directory: Path
    engine: str
    output: str

    def files(self, *directories: str) -> dict[str, str]:
        """Path to content."""
        found = [path for directory in directories for path in self.directory.glob(f"{directory}/**/*")]
        return {str(path.relative_to(self.directory)): path.read_text() for path in found if path.is_file()}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Declare all roles by Ansible, the last one first, and write their files; the engine lacks Debezium's image alone.

    Variables of the first sink are set, and the proxy is spelled in lower case.
    """
    directory = tmp_path_factory.mktemp("run")
    stack, log, images = directory / "stack", directory / "engine.log", directory / "images"
    settings = {"stack_dir": str(stack), "stack_base_images": BASE_IMAGES, "stack_services": SERVICES}
    expected = declare(*SERVICES, **settings)
    images.write_text("".join(f"{one['name']}\n" for name, one in expected.images.items() if name != "debezium"))
    obsolete = {"delta_sink_heap": "1g", "delta_sink_trigger_interval": "1 second"}
    variables = {**settings, **obsolete, "declared_services": SERVICES[::-1]}
    environment = {
        **{name: value for name, value in os.environ.items() if name != "HTTPS_PROXY"},
        "https_proxy": "http://proxy.example:3128",
        "PATH": f"{RENDERING}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        "ENGINE_LOG": str(log),
        "ENGINE_IMAGES": str(images),
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_STDOUT_CALLBACK": "default",
        "ANSIBLE_ROLES_PATH": str(ROOT / "roles"),
    }
    # What roles install and set up on the host is not for a test that has no stack.
    playbook = ["ansible-playbook", "-i", "localhost,", "--skip-tags=host", "-e", json.dumps(variables)]
    result = subprocess.run(
        [*playbook, str(RENDERING / "render.yml")],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, (result.stdout + result.stderr)[-4000:]
    return Run(stack, log.read_text(), result.stdout + result.stderr)


@pytest.mark.timeout(300)
def test_role_applied_alone_renders_what_it_renders_among_others_in_any_order(run: Run) -> None:
    secrets = {Path(path).name: value for path, value in run.files("secrets").items()}
    settings = {"stack_dir": str(run.directory), "stack_base_images": BASE_IMAGES, "stack_services": SERVICES}
    alone = [declare(name, secrets=secrets, **settings).files for name in SERVICES]
    services = [name.replace("_", "-") for name in SERVICES]
    written = run.files("connection.d", "targets", *services)

    assert written == {path: text for files in alone for path, text in files.items()}


def test_only_the_image_that_the_engine_lacks_is_built(run: Run) -> None:
    assert re.findall(r"--tag cdc-workstation/([a-z-]+):", run.engine) == ["debezium"]


def test_build_knows_the_proxy_in_both_spellings(run: Run) -> None:
    for name in ("HTTPS_PROXY", "https_proxy"):
        assert f"--build-arg {name}=http://proxy.example:3128" in run.engine


def test_variable_of_the_first_sink_gets_a_warning_and_the_run_goes_on(run: Run) -> None:
    warnings = " ".join(run.output.split())

    assert "delta_sink_heap is no longer used: the sink has no JVM; set delta_sink_memory." in warnings
    assert "delta_sink_trigger_interval is no longer used" in warnings
    assert "delta_sink_master" not in warnings


def test_output_shows_no_secret(run: Run) -> None:
    secrets = run.files("secrets")

    assert secrets
    assert [name for name, value in secrets.items() if value in run.output] == []
