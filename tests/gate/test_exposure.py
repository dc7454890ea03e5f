"""What other users of the host, websites in its browsers and other machines can do with the services."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable

import pytest
from deployment import Deployment, Service

WEBSITE = "https://website.invalid"
# Where a service's data are; elsewhere, the page that people open.
DATA = {
    "alertmanager": "/api/v2/alerts",
    "prometheus": "/api/v1/query?query=up",
    "webhook-receiver": "/__admin/requests?limit=1",
}
# Engines from this one on keep other machines away from the containers' addresses.
CLOSED_ENGINE = 28
CONNECT_PATHS = ("/", "/connectors", "/connector-plugins", "/health", "/admin/loggers")
# GETs with headers of their own, all at once: of each [status, headers in lower case], [0, {}] where nothing answers.
ASK = """
import concurrent.futures, json, sys, urllib.request
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
def ask(question):
    url, headers = question
    try:
        answer = opener.open(urllib.request.Request(url, headers=headers), timeout=5)
    except urllib.error.HTTPError as error:
        answer = error
    except (OSError, ValueError):
        return 0, {}
    return answer.status, {name.lower(): value for name, value in answer.headers.items()}
with concurrent.futures.ThreadPoolExecutor() as pool:
    print(json.dumps(list(pool.map(ask, json.loads(sys.argv[1])))))
"""

Answer = tuple[int, dict[str, str]]


@functools.cache
def answers(deployment: Deployment) -> dict[tuple[str, str], Answer]:
    """Return what is answered by (url, kind of stranger): `website`, `rebinding` or `nobody`."""
    headers = {"website": {"Origin": WEBSITE}, "rebinding": {"Host": "website.invalid"}, "nobody": {}}
    wanted = [(data_url(service), "website") for service in deployment.services.values() if service.label("health")]
    for service in deployment.services.values():
        if service.name in {"webhook-receiver", "delta-sink"}:
            wanted.append((data_url(service), "rebinding"))
        if service.name == "debezium":
            wanted += [(service.address + path, "nobody") for path in CONNECT_PATHS]
    questions = [(url, headers[stranger]) for url, stranger in wanted]
    given = json.loads(deployment.host.check_output("python3 -c %s %s", ASK, json.dumps(questions)))
    return {one: (status, found) for one, (status, found) in zip(wanted, given, strict=True)}


def data_url(service: Service) -> str:
    """Return an address of a service at which it shows something of the stack."""
    return service.address + DATA[service.name] if service.name in DATA else service.label("url")


def test_no_website_reads_its_answers(service: Service) -> None:
    if not service.label("health"):
        return
    url = data_url(service)

    _, headers = answers(service.deployment)[url, "website"]

    allowed = headers.get("access-control-allow-origin", "")
    assert allowed not in {"*", WEBSITE}, (
        f"{service.name} lets every website read {url}: it allows the origin {allowed}"
    )


@pytest.mark.only("webhook-receiver", "delta-sink")
def test_answers_to_its_own_names_alone(service: Service) -> None:
    status, _ = answers(service.deployment)[data_url(service), "rebinding"]

    assert status == 403, f"{service.name} answers {status} under the name of a website (DNS rebinding)"


@pytest.mark.only("debezium")
def test_connect_asks_for_a_login(service: Service) -> None:
    for path in CONNECT_PATHS:
        status, _ = answers(service.deployment)[service.address + path, "nobody"]

        assert status == 401, f"debezium answers {path} with {status} and without a login: run `make up`"


@pytest.mark.only("prometheus")
def test_prometheus_cannot_be_ended_over_http(service: Service) -> None:
    flags = service.deployment.get_json(f"{service.address}/api/v1/status/flags")["data"]

    assert flags["web.enable-lifecycle"] == "false", "prometheus lets every local user end it (POST /-/quit)"


@pytest.mark.only("alertmanager")
def test_gossip_is_published_for_a_cluster_alone(service: Service) -> None:
    peers = any(str(argument).startswith("--cluster.peer") for argument in service.declared["command"])
    inside = {int(port["target"]) for port in service.declared["ports"]}

    assert peers or 9094 not in inside, "alertmanager publishes the port of a cluster that it does not have"


def test_takes_no_more_than_its_share(service: Service) -> None:
    for container in service.containers:
        host = container["HostConfig"]
        unbounded = [path for path, options in (host["Tmpfs"] or {}).items() if "size=" not in options]
        assert host["PidsLimit"], f"{service.name} may start as many processes as it likes: it has no pids_limit"
        assert host["CpuShares"] not in {0, 1024}, f"{service.name} has no cpu_shares"
        assert not unbounded, f"{service.name} may fill memory through {', '.join(unbounded)}: a tmpfs without a size"
        # -1 where the kernel does not count swap.
        assert host["MemorySwap"] in {host["Memory"], -1}, f"{service.name} may swap beyond its memory limit"


def test_other_machines_reach_no_container(deployment: Deployment, yours: Callable[[str], None]) -> None:
    engine = deployment.host.check_output("docker version --format '{{.Server.Version}}'")
    if int(engine.partition(".")[0]) >= CLOSED_ENGINE:
        return
    networks = deployment.project["networks"].values()
    [subnet] = [config["subnet"] for network in networks for config in network["ipam"]["config"]]
    root = "" if deployment.host.user().uid == 0 else "sudo -n "
    rules = deployment.host.run(f"{root}/usr/sbin/iptables --wait 10 --table raw --list-rules PREROUTING")
    if rules.rc != 0:
        yours(f"whether other machines reach {subnet} only root can tell: {rules.stderr.strip()}")
        return
    wanted = f"-A PREROUTING ! -s {subnet} -d {subnet} ! -i lo -m comment --comment stack-{deployment.project['name']} "

    assert [rule for rule in rules.stdout.splitlines() if rule.startswith(wanted) and rule.endswith("-j DROP")], (
        f"other machines that have a route to {subnet} reach the published services: run `make up` as somebody who may "
        "become root"
    )
