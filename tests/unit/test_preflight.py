"""Preflight: every problem of settings and machine, at once and before anything changes."""

from __future__ import annotations

import json
import os
import runpy
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any

import pytest

ENOUGH = {"min_memory_mb": 1, "min_disk_mb": 1}
# What a machine has that has everything: an engine, programs that are found and answer, and no root needed.
DOCKER_WITH_ALL_IMAGES = 'case "$*" in "image ls"*) echo cdc-workstation/kafka:4.1.1-0123456789ab;; esac'


@pytest.fixture
def preflight(module: Any, program: Any, tmp_path: Path) -> Any:
    environment = program("docker", DOCKER_WITH_ALL_IMAGES)
    for name in ("mmdebstrap", "setfacl", "sudo", "apt-get"):
        environment = program(name, "true")
    return partial(
        module,
        "stack/library/preflight.py",
        _environment=environment,
        ports={},
        address="127.0.0.1",
        project="cdc-workstation",
        stack_dir=str(tmp_path / "stack"),
        # TEST-NET-3 (RFC 5737): no machine routes it.
        subnet="203.0.113.0/24",
        services=["kafka"],
        image_prefix="cdc-workstation",
        python=sys.executable,
        may_become_root=False,
        delta_tables_dir=str(tmp_path),
        disk_path=str(tmp_path),
        **ENOUGH,
    )


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_a_machine_that_has_everything_has_no_problems(preflight: Any) -> None:
    assert preflight()["problems"] == []


def test_a_taken_port_names_the_process_and_the_variable(preflight: Any, taken_port: int) -> None:
    [problem] = preflight(ports={"kafka_port": taken_port})["problems"]

    assert problem.startswith(f"Port {taken_port} is used by ")
    assert f"(pid {os.getpid()})" in problem
    assert "set kafka_port" in problem


def test_a_port_that_another_container_holds_names_it(preflight: Any, program: Any) -> None:
    inspected = """[{"Name": "/other-broker", "Config": {"Labels": {"com.docker.compose.project": "other"}},
                     "HostConfig": {"PortBindings": {"9092/tcp": [{"HostPort": "9092"}]}}}]"""
    environment = program("docker", f"case $1 in ps) echo 1;; inspect) echo '{inspected}';; esac")

    problems = preflight(ports={"kafka_port": 9092}, services=[], _environment=environment)["problems"]

    assert problems == ["Port 9092 is used by the container other-broker: stop it, or set kafka_port."]


def test_ports_of_the_stack_itself_are_no_problem(preflight: Any, program: Any, taken_port: int) -> None:
    inspected = f"""[{{"Name": "/kafka", "Config": {{"Labels": {{"com.docker.compose.project": "cdc-workstation"}}}},
                      "HostConfig": {{"PortBindings": {{"9092/tcp": [{{"HostPort": "{taken_port}"}}]}}}}}}]"""
    environment = program("docker", f"case $1 in ps) echo 1;; inspect) echo '{inspected}';; esac")

    assert preflight(ports={"kafka_port": taken_port}, services=[], _environment=environment)["problems"] == []


def test_a_port_of_the_stacks_own_container_on_the_hosts_network_is_free_for_it(
    preflight: Any, program: Any, taken_port: int
) -> None:
    inspected = f"""[{{"Name": "/worker", "Config": {{"Labels": {{"com.docker.compose.project": "cdc-workstation"}},
                      "ExposedPorts": {{"{taken_port}/tcp": {{}}}}}},
                      "HostConfig": {{"NetworkMode": "host", "PortBindings": null}}}}]"""
    environment = program("docker", f"case $1 in ps) echo 1;; inspect) echo '{inspected}';; esac")

    assert preflight(_environment=environment, ports={"spark_worker_ui_port": taken_port})["problems"] == []


def test_a_port_of_udp_is_not_one_of_tcp(preflight: Any, taken_port: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        taken = receiver.getsockname()[1]
        [problem] = preflight(ports={"loki_gelf_udp_port": taken})["problems"]

        assert problem.startswith(f"Port {taken} is used by ")
        assert "set loki_gelf_udp_port" in problem

    assert preflight(ports={"loki_gelf_udp_port": taken_port})["problems"] == []


def test_a_port_that_two_services_want_is_a_problem(preflight: Any) -> None:
    [problem] = preflight(ports={"kafka_port": 1, "mysql_port": 1})["problems"]

    assert problem == "Port 1 is given to kafka_port and mysql_port: give each its own."


ROUTES = """\
Iface	Destination	Gateway	Flags	RefCnt	Use	Metric	Mask	MTU	Window	IRTT
{device}	007100CB	00000000	0001	0	0	0	00FFFFFF	0	0	0
"""


@pytest.mark.parametrize(
    ("device", "engine", "problems"),
    [
        pytest.param("eth1", 1, 1, id="a-stranger"),
        pytest.param("br-0123456789ab", 1, 0, id="a-network-of-an-engine-that-is-down"),
        pytest.param("br-0123456789ab", 0, 1, id="a-network-that-the-running-engine-does-not-know"),
    ],
)
def test_a_route_to_the_range_is_a_problem_unless_a_stopped_engine_left_it(
    device: str, engine: int, problems: int, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: Any
) -> None:
    monkeypatch.setenv("PATH", program("docker", f"exit {engine}")["PATH"])
    functions = runpy.run_path(str(root / "roles/stack/library/preflight.py"), run_name="preflight")
    look = functions["network_problems"]
    look.__globals__["ROUTES"] = tmp_path / "route"
    (tmp_path / "route").write_text(ROUTES.format(device=device))
    module = SimpleNamespace(
        params={"subnet": "203.0.113.0/24", "project": "cdc-workstation"}, run_command=lambda _: (engine, "", "")
    )

    found = look(module)

    assert len(found) == problems
    assert all(f"the host's route through {device}" in problem for problem in found)


def test_a_range_that_another_network_of_the_engine_uses_names_it(preflight: Any, program: Any) -> None:
    environment = program(
        "docker", "case $1-$2 in network-ls) echo 1;; network-inspect) echo other 203.0.0.0/16;; esac"
    )

    [problem] = preflight(services=[], _environment=environment)["problems"]

    assert problem.startswith("The range 203.0.113.0/24 is used by docker's network other: set stack_network_subnet")


def test_the_stacks_own_network_is_no_problem(preflight: Any, program: Any) -> None:
    listed = "cdc-workstation_default 203.0.113.0/24"
    environment = program("docker", f"case $1-$2 in network-ls) echo 1;; network-inspect) echo {listed};; esac")

    assert preflight(services=[], _environment=environment)["problems"] == []


def test_too_little_memory_says_how_much_there_is_and_what_to_do(preflight: Any) -> None:
    [problem] = preflight(min_memory_mb=10**9)["problems"]

    assert problem.startswith("The machine has ")
    assert "asks for 1000000000 MB" in problem
    assert "stack_services" in problem


def test_too_little_disk_is_a_problem_only_while_images_are_missing(preflight: Any, program: Any) -> None:
    assert preflight(min_disk_mb=10**9)["problems"] == []

    without_images = program("docker", "true")
    problems = preflight(min_disk_mb=10**9, python="true", _environment=without_images)["problems"]

    assert "MB free, the images ask for 1000000000 MB" in problems[0]


def test_a_mirror_that_cannot_be_reached_is_named(preflight: Any, program: Any) -> None:
    environment = program("docker", "true")

    problems = preflight(debian_mirror="http://127.0.0.1:9/debian", python="true", _environment=environment)["problems"]

    assert any("The Debian mirror http://127.0.0.1:9/debian cannot be reached" in problem for problem in problems)


def test_an_index_that_cannot_be_reached_says_what_pip_says(preflight: Any, program: Any) -> None:
    program("docker", "true")
    environment = program("broken-python", "echo 'Could not fetch URL' >&2; exit 1")

    problems = preflight(python="broken-python", _environment=environment)["problems"]

    assert any("pip cannot reach its package index (Could not fetch URL)" in problem for problem in problems)


def test_a_target_without_pip_is_no_problem(preflight: Any, program: Any) -> None:
    program("docker", "true")
    environment = program("bare-python", "echo 'bare-python: No module named pip' >&2; exit 1")

    problems = preflight(python="bare-python", _environment=environment)["problems"]

    assert not any("pip" in problem for problem in problems)


def test_registries_are_left_alone_while_every_image_is_there(preflight: Any) -> None:
    assert preflight(debian_mirror="http://127.0.0.1:9/debian", python="false")["problems"] == []


def test_all_problems_are_said_at_once(preflight: Any, taken_port: int) -> None:
    problems = preflight(ports={"kafka_port": taken_port}, min_memory_mb=10**9)["problems"]

    assert len(problems) == 2


def test_what_cannot_be_built_must_come_from_somewhere(preflight: Any, program: Any) -> None:
    [problem] = preflight(_environment=program("docker", "true"), builds=False)["problems"]

    assert problem.startswith("The engine has no image of kafka, and stack_build_images is false")
    assert "make images-load" in problem


def test_package_registries_are_left_alone_where_nothing_is_built(preflight: Any, program: Any) -> None:
    environment = program("docker", "true")

    assert preflight(_environment=environment, builds=False, registry="127.0.0.1:5000/team")["problems"] == []


def test_an_engine_that_was_chosen_and_is_dead_is_the_only_problem(preflight: Any, taken_port: int) -> None:
    environment = preflight.keywords["_environment"] | {"DOCKER_HOST": "tcp://127.0.0.1:9"}
    Path(environment["PATH"].split(":")[0], "docker").write_text("#!/bin/sh\necho Cannot connect >&2; exit 1\n")

    problems = preflight(ports={"kafka_port": taken_port}, _environment=environment)["problems"]

    assert problems == [
        "DOCKER_HOST 'tcp://127.0.0.1:9' names an engine that does not answer (Cannot connect); start that engine, or "
        "unset DOCKER_HOST."
    ]


def test_an_address_that_the_machine_lacks_is_a_problem(preflight: Any) -> None:
    # TEST-NET-1 (RFC 5737): nobody has it.
    [problem] = preflight(address="192.0.2.1")["problems"]

    assert problem.startswith("stack_bind_address '192.0.2.1' cannot be used on this machine (")
    assert "use one of its own addresses" in problem


def test_a_stack_directory_that_is_a_file_is_a_problem(preflight: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    [problem] = preflight(stack_dir=str(tmp_path / "file" / "stack"))["problems"]

    assert problem.endswith(f"{tmp_path}/file is not a directory; use another path.")


def test_a_directory_with_other_files_is_not_taken_for_a_stacks(preflight: Any, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.tex").write_text("")

    [problem] = preflight(stack_dir=str(tmp_path / "home"))["problems"]

    assert "holds files that are not a stack's (thesis.tex); use a directory of its own" in problem


def test_a_full_disk_is_a_problem_before_anything_is_written(preflight: Any, root: Path, tmp_path: Path) -> None:
    functions = runpy.run_path(str(root / "roles/stack/library/preflight.py"), run_name="preflight")
    look = functions["directory_problems"]
    look.__globals__["MIN_STACK_MB"] = 10**9

    [problem] = look(SimpleNamespace(params={"stack_dir": str(tmp_path)}))

    assert " MB free; make room for 1000000000 MB there." in problem


@pytest.fixture
def user(root: Path, monkeypatch: pytest.MonkeyPatch, program: Any, tmp_path: Path) -> Any:
    """Return what is said to a user who may use the engine, on a machine with these programs."""

    def problems(*programs: str, missing: list[str], services: list[str], private: bool = False) -> list[str]:
        for name in programs:
            program(name, "true")
        monkeypatch.setenv("PATH", str(tmp_path / "bin"))
        monkeypatch.setattr(os, "geteuid", lambda: 1000)
        functions = runpy.run_path(str(root / "roles/stack/library/preflight.py"), run_name="preflight")
        params = {
            "services": services,
            "may_become_root": False,
            "builds": True,
            "registry": "",
            "delta_tables_dir": str(tmp_path / "tables"),
            "private": private,
        }
        module = SimpleNamespace(params=params, run_command=lambda _: (0, "", ""))
        found: list[str] = functions["root_problems"](module, missing)
        return found

    return problems


def test_a_user_without_sudo_is_told_everything_that_needs_root(user: Any, tmp_path: Path) -> None:
    [problem] = user("docker", "setfacl", missing=["kafka"], services=["kafka", "spark"])

    assert problem == (
        "Root is needed for installing mmdebstrap, bootstrapping the base image, making "
        f"{tmp_path}/tables, and there is no sudo: let an administrator do that once, or run `make up` as root."
    )


def test_a_user_who_needs_no_root_is_asked_for_none(user: Any) -> None:
    assert user("docker", "mmdebstrap", "setfacl", missing=[], services=["kafka"]) == []


def test_a_private_stack_needs_root(user: Any) -> None:
    [problem] = user("docker", "mmdebstrap", "setfacl", missing=[], services=["kafka"], private=True)

    assert problem.startswith("Root is needed for keeping other users away (stack_private), and there is no sudo:")


DIGEST = f"sha256:{'0' * 64}"
HUB_IMAGES = {
    "grafana": {"grafana_image": f"grafana/grafana:12.3.1@{DIGEST}"},
    "loki": {"loki_image": f"grafana/loki:3.6.3@{DIGEST}", "loki_alloy_image": f"grafana/alloy:v1.12.1@{DIGEST}"},
}
PROFILES = {"core": ["kafka"], "dashboards": ["grafana"], "logs": ["loki"]}


@dataclass
class Registry:
    """A registry on loopback, by its HTTP API: what it has, and what it was asked for."""

    address: str = ""
    has: set[str] = field(default_factory=set)
    tags: list[str] = field(default_factory=list)
    asks_for_a_login: bool = False
    asked: list[str] = field(default_factory=list)


@pytest.fixture
def registry() -> Iterator[Registry]:
    state = Registry()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.asked.append(self.path)
            self.send_response(401 if state.asks_for_a_login else 200 if self.path in state.has else 404)
            body = json.dumps({"tags": state.tags}).encode()
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        state.address = f"127.0.0.1:{server.server_port}"
        yield state
        server.shutdown()
        thread.join()


@pytest.fixture
def nobody() -> Iterator[str]:
    """An address on loopback where nothing listens, and nothing will meanwhile."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{held.getsockname()[1]}"


@pytest.fixture
def hub_problems(preflight: Any) -> Any:
    """Return the problems of a machine that has everything but the images of these services."""

    def problems(*services: str, **arguments: Any) -> list[str]:
        images = {service: HUB_IMAGES[service] for service in services}
        # Packages are not what this is about: pip, the only one that answers for itself, is said to be there.
        given = {"services": list(services), "hub_images": images, "profiles": PROFILES, "python": "true", **arguments}
        found: list[str] = preflight(**given)["problems"]
        return found

    return problems


def test_a_hub_that_has_the_image_is_no_problem(hub_problems: Any, registry: Registry) -> None:
    registry.has = {f"/v2/mirror/grafana/grafana/manifests/{DIGEST}"}

    assert hub_problems("grafana", image_hub=f"{registry.address}/mirror") == []
    assert registry.asked == [f"/v2/mirror/grafana/grafana/manifests/{DIGEST}"]


def test_a_hub_that_wants_a_login_is_left_to_the_engine(hub_problems: Any, registry: Registry) -> None:
    registry.asks_for_a_login = True

    assert hub_problems("grafana", image_hub=registry.address) == []


def test_a_hub_that_cannot_be_reached_says_which_profile_needs_it_and_what_to_do(
    hub_problems: Any, nobody: str
) -> None:
    [problem] = hub_problems("grafana", image_hub=nobody)

    assert problem.startswith(
        f"The profile dashboards needs an image that is on hubs alone, and {nobody} does not give grafana/grafana ("
    )
    assert "Connection refused" in problem
    assert "set stack_image_hub to a mirror that does, or stack_registry to a registry of yours" in problem
    assert "or leave dashboards out: the live page that `make status` names shows the pipeline without it." in problem


def test_each_profile_has_one_sentence(hub_problems: Any, nobody: str) -> None:
    problems = hub_problems("grafana", "loki", image_hub=nobody)

    assert [problem.partition(" needs ")[0] for problem in problems] == ["The profile dashboards", "The profile logs"]


def test_a_mirror_that_lacks_one_image_names_that_one(hub_problems: Any, registry: Registry) -> None:
    registry.has = {f"/v2/grafana/loki/manifests/{DIGEST}"}

    [problem] = hub_problems("loki", image_hub=registry.address)

    assert f"{registry.address} does not give grafana/alloy (it is not there)" in problem


def test_an_image_without_its_digest_is_a_problem_before_it_is_needed(preflight: Any, nobody: str) -> None:
    images = {"kafka": {"grafana_image": "grafana/grafana:latest"}}

    [problem] = preflight(hub_images=images, image_hub=nobody)["problems"]

    assert problem == "grafana_image grafana/grafana:latest has no digest: write name:tag@sha256:<64 digits>."


@pytest.mark.parametrize(("has", "problems"), [("12.3.1", 0), ("12.3.0", 1)])
def test_nobody_asks_the_hub_for_what_the_engine_has(
    hub_problems: Any, program: Any, nobody: str, has: str, problems: int
) -> None:
    """One of an earlier release is not what is wanted."""
    environment = program("docker", f'case "$*" in "image ls"*) echo cdc-workstation/grafana:{has}-0123456789ab;; esac')

    assert len(hub_problems("grafana", image_hub=nobody, _environment=environment)) == problems


@pytest.mark.parametrize(("has", "problems"), [("12.3.1", 0), ("12.3.0", 1)])
def test_nobody_asks_the_hub_for_what_the_users_registry_has(
    hub_problems: Any, registry: Registry, nobody: str, has: str, problems: int
) -> None:
    registry.has = {"/v2/team/grafana/tags/list"}
    registry.tags = [f"{has}-0123456789ab"]

    assert len(hub_problems("grafana", image_hub=nobody, registry=f"{registry.address}/team")) == problems


def test_nobody_asks_the_hub_where_nothing_is_built(hub_problems: Any, registry: Registry, nobody: str) -> None:
    assert hub_problems("grafana", image_hub=registry.address, registry=nobody, builds=False) == []
    assert registry.asked == []
