"""What is rendered on one host, what the engine made of it, and what its services answer.

Everything is asked on the target through testinfra, which reaches it as the inventory says (local, ssh). Bulk data are
asked for once and kept: over ssh every command is a round trip.
"""

from __future__ import annotations

import functools
import ipaddress
import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
from tenacity import RetryCallState, Retrying, retry_if_result, wait_fixed
from testinfra.host import Host

LABEL = "cdc-workstation"
# How often a condition that does not hold yet is looked at again, seconds.
POLL = 0.5
# A service that the engine restarted this recently is not taken for stable.
CALM = timedelta(minutes=1)
LOG_LINES = 15
# GETs by what every target has (it is managed by Ansible), all at once; a proxy for the world outside has no part in
# them. Each gives [status, body], status 0 where nothing answers. Kafka Connect's login is read on the target: it never
# is an argument of a command.
GET = """
import base64, concurrent.futures, json, pathlib, shlex, sys, urllib.request
lines = pathlib.Path(sys.argv[1], "connection.env").read_text().splitlines()
found = dict(pair.split("=", 1) for line in lines for pair in shlex.split(line, comments=True))
login = base64.b64encode("{}:{}".format(*map(found.get, ("DEBEZIUM_USER", "DEBEZIUM_PASSWORD"))).encode()).decode()
connect = found.get("DEBEZIUM_URL") if found.get("DEBEZIUM_PASSWORD") else None
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
def get(url):
    headers = {"Authorization": "Basic " + login} if connect and url.startswith(connect + "/") else {}
    try:
        answer = opener.open(urllib.request.Request(url, headers=headers), timeout=5)
    except urllib.error.HTTPError as error:
        answer = error
    except (OSError, ValueError) as error:
        return 0, str(getattr(error, "reason", error))
    return answer.status, answer.read().decode(errors="replace")
with concurrent.futures.ThreadPoolExecutor() as pool:
    print(json.dumps(list(pool.map(get, sys.argv[2:]))))
"""
# The kernel's state of a socket that waits for whoever comes (include/net/tcp_states.h); UDP has no listening.
WAITING = {"tcp": "0A", "udp": "07"}
# What docker means by the units of `docker stats` (go-units, binary).
UNITS = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}


class BrokenError(Exception):
    """The deployment cannot be looked at; the message says why and what to do."""


class NoAnswerError(Exception):
    """An address did not answer over HTTP, or not with success; the message is one clause."""


def mebibytes(size: float) -> str:
    """Write a size in bytes for a person."""
    return f"{size / 2**20:.0f} MiB"


def unmapped(address: str) -> str:
    """Return an address as people write it: the IPv4 one, where the kernel shows it mapped into IPv6."""
    ip = ipaddress.ip_address(address)
    return str(getattr(ip, "ipv4_mapped", None) or ip)


def is_loopback(address: str) -> bool:
    """Tell whether only this machine reaches the address."""
    return ipaddress.ip_address(unmapped(address)).is_loopback


@dataclass(frozen=True)
class Options:
    """What the person who runs the gate may say.

    Attributes:
        stack_dir: the stack's directory on the target; empty for its default.
        seconds: how long services may take, all together, to become what the gate asks for.
    """

    stack_dir: str
    seconds: float


class Deployment:
    """The compose project of one host.

    Args:
        host: the target.
        variables: the target's variables in the inventory, templates unresolved.
        options: what the person who runs the gate said.

    Raises:
        BrokenError: nothing is rendered there, or the engine does not answer.
    """

    def __init__(self, host: Host, variables: dict[str, Any], options: Options) -> None:
        self.host = host
        self.name = host.backend.get_pytest_id()
        self._variables = variables
        self._deadline = time.monotonic() + options.seconds
        self._answers: dict[str, tuple[int, str]] | None = None
        try:
            self.directory = options.stack_dir or self.variable("stack_dir", "") or self._default_directory()
            rendered = host.run("cd %s && docker compose config --format json", self.directory)
        except RuntimeError as error:
            # What testinfra's ssh raises holds the command's result.
            said = getattr(error.args[0], "stderr", error)
            raise BrokenError(f"{self.name} cannot be reached: {str(said).strip()}") from error
        if rendered.rc != 0:
            raise BrokenError(
                f"There is no stack in {self.directory} of {self.name} ({rendered.stderr.strip()}): run `make up`."
            )
        self.project: dict[str, Any] = json.loads(rendered.stdout)
        # The engine measures for some seconds: meanwhile the other checks run.
        self._stats = ThreadPoolExecutor(1).submit(
            host.run, "docker stats --no-stream --no-trunc --format '{{ .ID }} {{ .MemUsage }}'"
        )

    def _default_directory(self) -> str:
        # Of the account, as Ansible takes it, and not what $HOME says.
        home = self.host.run('eval printf %s "~$(id -un)"')
        return f"{home.stdout}/.local/share/{self.variable('stack_project', 'cdc-workstation')}"

    def variable(self, name: str, default: Any) -> Any:
        """Return the inventory's value of a variable, or the role's default that is given here."""
        value = self._variables.get(name, default)
        if "{{" in str(value):
            # What rests on defaults of roles or facts, which only a play knows, stays unresolved and gives no fact.
            resolved = self.host.ansible("set_fact", f"resolved='{value}'")
            value = resolved.get("ansible_facts", {}).get("resolved", default)
            self._variables[name] = value
        return value

    @property
    def is_here(self) -> bool:
        """Whether the host is this machine, so that addresses of `connection.env` are reached from here."""
        kind = self.host.backend.get_connection_type() if hasattr(self.host.backend, "get_connection_type") else ""
        connection = self._variables.get("ansible_connection", kind or self.host.backend.NAME)
        return connection == "local"

    @functools.cached_property
    def services(self) -> dict[str, Service]:
        """The services that are rendered, whether they run or not."""
        return {name: Service(self, name, declared) for name, declared in sorted(self.project["services"].items())}

    @functools.cached_property
    def containers(self) -> list[dict[str, Any]]:
        """What `docker inspect` says of the project's containers."""
        listing = "docker ps --all --quiet --no-trunc --filter label=com.docker.compose.project=%s"
        inspected = self.host.run(f"{listing} | xargs --no-run-if-empty docker inspect", self.project["name"])
        if inspected.rc != 0:
            raise BrokenError(f"The engine of {self.name} does not answer: {inspected.stderr.strip()}")
        containers = json.loads(inspected.stdout or "[]")
        return [c for c in containers if c["Config"]["Labels"].get("com.docker.compose.oneoff") != "True"]

    @functools.cached_property
    def memory_use(self) -> dict[str, float]:
        """Container id to the memory that it uses, in bytes, page cache that can be dropped left out."""
        used = {}
        for line in self._stats.result().stdout.splitlines():
            container, amount, *_ = line.split()
            number = amount.rstrip("BKMGTi")
            used[container] = float(number) * UNITS[amount.removeprefix(number)]
        return used

    @functools.cached_property
    def listening(self) -> dict[tuple[str, int], set[str]]:
        """Protocol and port to the addresses that something listens on (proc_pid_net(5), /proc/net/tcp)."""
        found: dict[tuple[str, int], set[str]] = {}
        tables = "cd /proc/net && grep -s ^ tcp tcp6 udp udp6"
        for line in self.host.run(tables).stdout.splitlines():
            table, _, entry = line.partition(":")
            protocol, fields = table[:3], entry.split()
            if fields[3] == WAITING[protocol]:
                address, port = fields[1].split(":")
                found.setdefault((protocol, int(port, 16)), set()).add(self._address(address))
        return found

    @staticmethod
    def _address(encoded: str) -> str:
        """Read an address as the kernel prints it: words of four bytes in the machine's order (little-endian)."""
        words = [bytes.fromhex(encoded[at : at + 8])[::-1] for at in range(0, len(encoded), 8)]
        return str(ipaddress.ip_address(b"".join(words)))

    def get(self, url: str) -> str:
        """Return what `url` answers to the target. The first time, all health endpoints are asked at once.

        Raises:
            NoAnswerError: nothing answers there, or not with success.
        """
        urls = [url]
        if self._answers is None:
            self._answers = {}
            urls += [health for service in self.services.values() if (health := service.label("health"))]
        if url not in self._answers:
            arguments = " ".join(["%s"] * (len(urls) + 2))
            given = self.host.check_output(f"python3 -c {arguments}", GET, self.directory, *urls)
            self._answers.update(zip(urls, json.loads(given), strict=True))
        status, body = self._answers.pop(url)
        if not 200 <= status < 300:
            raise NoAnswerError(f"{url} {f'answers {status}' if status else 'does not answer'} ({body.strip()[:200]})")
        return str(body)

    def get_json(self, url: str) -> Any:
        """Return the JSON that `url` answers to the target.

        Raises:
            NoAnswerError: nothing answers there, or not with success.
        """
        return json.loads(self.get(url))

    def expect_none(self, problem: Callable[[], str]) -> None:
        """Ask for a problem until there is none; fail with the one that is left when the gate's time is up."""

        def time_is_up(_: RetryCallState) -> bool:
            return time.monotonic() >= self._deadline

        def ask() -> str:
            try:
                return problem()
            except NoAnswerError as error:
                return str(error)

        def look_again(_: RetryCallState) -> None:
            self.__dict__.pop("containers", None)

        def last(state: RetryCallState) -> str:
            assert state.outcome is not None
            return str(state.outcome.result())

        retrying = Retrying(
            stop=time_is_up,
            wait=wait_fixed(POLL),
            retry=retry_if_result(bool),
            before_sleep=look_again,
            retry_error_callback=last,
        )
        if reason := retrying(ask):
            pytest.fail(reason, pytrace=False)


class Service:
    """One service of a deployment.

    Attributes:
        name: its name in the project.
        declared: what is rendered of it, as `docker compose config` prints it.
    """

    def __init__(self, deployment: Deployment, name: str, declared: dict[str, Any]) -> None:
        self.deployment = deployment
        self.name = name
        self.declared = declared

    @property
    def containers(self) -> list[dict[str, Any]]:
        """What `docker inspect` says of its containers."""
        return [
            c for c in self.deployment.containers if c["Config"]["Labels"]["com.docker.compose.service"] == self.name
        ]

    @property
    def replicas(self) -> int:
        """How many containers it is to have."""
        return int(self.declared.get("deploy", {}).get("replicas", self.declared.get("scale", 1)))

    @property
    def memory_limit(self) -> int:
        """The declared limit of all its containers together, in bytes; 0 where there is none."""
        limits = self.declared.get("deploy", {}).get("resources", {}).get("limits", {})
        return int(self.declared.get("mem_limit") or limits.get("memory") or 0) * self.replicas

    def label(self, name: str) -> str:
        """Return the label `cdc-workstation.<name>`, empty where there is none."""
        return str(self.declared.get("labels", {}).get(f"{LABEL}.{name}", ""))

    @property
    def address(self) -> str:
        """Scheme, host and port of its health endpoint."""
        parts = urlsplit(self.label("health"))
        return f"{parts.scheme}://{parts.netloc}"

    def published(self) -> Iterator[tuple[str, str, int]]:
        """Protocol, address and port of everything that it is declared to publish."""
        for port in self.declared.get("ports", []):
            if port.get("published"):
                yield port.get("protocol", "tcp"), port.get("host_ip", "0.0.0.0"), int(port["published"])  # noqa: S104

    def run_problem(self) -> str:
        """Say what keeps it from being up and healthy, empty where nothing does.

        Raises:
            AssertionError: it is down in a way that time does not mend.
        """
        states = [container["State"] for container in self.containers]
        assert len(states) == self.replicas, f"{self.name} has {len(states)} container(s), {self.replicas} declared"
        for container, state in zip(self.containers, states, strict=True):
            assert state["Status"] in {"created", "running", "restarting"}, (
                f"{self.name} is {state['Status']} (code {state['ExitCode']}"
                f"{', out of memory' if state['OOMKilled'] else ''})"
            )
            assert "Health" in state or state["Status"] != "running", f"{self.name} has no health check"
            if state["Status"] != "running":
                return f"{self.name} is {state['Status']}"
            if state["Health"]["Status"] != "healthy":
                probes = state["Health"]["Log"] or [{"Output": ""}]
                said = probes[-1]["Output"].strip() or "its health check says no more"
                return f"{self.name} is {state['Health']['Status']}: {said}"
            started = datetime.fromisoformat(state["StartedAt"])
            if container["RestartCount"] and datetime.now(UTC) - started < CALM:
                return f"{self.name} keeps restarting: {container['RestartCount']} time(s), last at {started:%H:%M:%S}"
        return ""

    def last_log_lines(self) -> str:
        """Return the end of the logs of its containers."""
        ends = []
        for container in self.containers:
            log = self.deployment.host.run(f"docker logs --tail {LOG_LINES} %s 2>&1", container["Id"])
            ends.append(log.stdout.strip() or "(it logged nothing)")
        return "\n".join(ends) or "(it has no container)"
