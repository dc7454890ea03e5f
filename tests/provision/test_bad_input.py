"""Bad settings and faults: a clear error that says what to do, and the running stack as it was."""

from __future__ import annotations

import socket
from dataclasses import replace

import pytest

from conftest import SmallStack, docker

pytestmark = pytest.mark.timeout(300)


@pytest.mark.usefixtures("untouched")
def test_all_problems_are_reported_at_once(small_stack: SmallStack) -> None:
    outcome = small_stack.converge(
        stack_start_timeout="soon", alertmanager_prot=9093, stack_services=["alertmanager", "nope"]
    )
    assert outcome.code != 0
    assert "Nothing was changed. 3 thing(s) to correct first" in outcome.output
    assert "stack_start_timeout 'soon' is not a whole number; use digits alone." in outcome.output
    assert "alertmanager_prot is not a setting of any role. Did you mean alertmanager_port?" in outcome.output
    assert "stack_services names nope; use any of: alertmanager, " in outcome.output


@pytest.mark.usefixtures("untouched")
def test_a_taken_port_is_reported_with_its_process(small_stack: SmallStack) -> None:
    with socket.socket() as squatter:
        squatter.bind(("127.0.0.1", 0))
        squatter.listen()
        port = squatter.getsockname()[1]
        outcome = small_stack.converge(alertmanager_port=port)
    assert outcome.code != 0
    assert f"Port {port} is used by p" in outcome.output  # python or pytest, as the process calls itself
    assert "set alertmanager_port" in outcome.output


@pytest.mark.usefixtures("untouched")
def test_one_port_for_two_services_is_reported(small_stack: SmallStack) -> None:
    outcome = small_stack.converge(alertmanager_port=25001)
    assert outcome.code != 0
    assert "Port 25001 is given to alertmanager_port and webhook_receiver_port" in outcome.output


@pytest.mark.usefixtures("untouched")
def test_too_little_memory_is_reported_with_both_figures(small_stack: SmallStack) -> None:
    outcome = small_stack.converge(stack_min_memory_mb=9_000_000)
    assert outcome.code != 0
    assert "the stack asks for 9000000 MB" in outcome.output


@pytest.mark.usefixtures("untouched")
def test_an_unreachable_registry_is_reported_before_a_build(small_stack: SmallStack) -> None:
    outcome = small_stack.converge(stack_image_prefix="elsewhere", stack_debian_mirror="http://127.0.0.1:9/debian")
    assert outcome.code != 0
    assert "The Debian mirror http://127.0.0.1:9/debian cannot be reached" in outcome.output
    assert "set stack_debian_mirror" in outcome.output


@pytest.mark.usefixtures("untouched")
def test_a_profile_that_needs_a_hub_says_so_where_there_is_none(small_stack: SmallStack) -> None:
    settings = dict(small_stack.variables)
    profiles = {"core": settings.pop("stack_services"), "dashboards": ["grafana"]}
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        hub = f"127.0.0.1:{nobody.getsockname()[1]}"
        outcome = replace(small_stack, variables=settings).converge(
            "site.yml",
            stack_profiles="core,dashboards",
            stack_profile_services=profiles,
            stack_image_hub=hub,
            # A machine with a hub may have the image already, under the stack's own name.
            stack_image_prefix="elsewhere",
            grafana_port=23000,
        )
    output = " ".join(outcome.output.split())
    assert outcome.code != 0
    assert f"The profile dashboards needs an image that is on hubs alone, and {hub} does not give grafana" in output
    assert "set stack_image_hub to a mirror that does" in output
    assert "the live page that `make status` names shows the pipeline without it" in output


@pytest.mark.usefixtures("untouched")
def test_a_broken_route_is_refused_in_the_words_of_amtool(small_stack: SmallStack) -> None:
    outcome = small_stack.converge(alertmanager_route={"receiver": "nobody"})
    assert outcome.code != 0
    assert 'undefined receiver "nobody" used in route' in outcome.output


@pytest.mark.usefixtures("untouched")
def test_a_failed_build_shows_the_end_of_its_log(small_stack: SmallStack) -> None:
    outcome = small_stack.converge(alertmanager_version="0.0.1-none")
    assert outcome.code != 0
    assert "The build of cdc-workstation/alertmanager:0.0.1-none" in outcome.output
    assert "nothing that runs was touched" in outcome.output
    assert "v0.0.1-none" in outcome.output


def test_a_service_that_never_gets_healthy_shows_its_last_words_and_the_old_one_runs_again(
    small_stack: SmallStack,
) -> None:
    before, files = small_stack.containers(), small_stack.files()
    # Too little memory for a JVM: the kernel ends it.
    outcome = small_stack.converge(webhook_receiver_memory="12m")
    assert outcome.code != 0
    assert "webhook-receiver is " in outcome.output
    assert "the stack runs again as it was before" in outcome.output
    assert small_stack.files() == files
    after = small_stack.containers()
    assert after["alertmanager"] == before["alertmanager"]
    health = docker(
        "inspect", "--format", "{{.State.Health.Status}} {{.HostConfig.Memory}}", after["webhook-receiver"][0]
    )
    assert health.split() == ["healthy", str(192 * 2**20)]


def test_a_new_service_that_fails_leaves_nothing_in_the_way_of_the_next_try(small_stack: SmallStack) -> None:
    before, files = small_stack.containers(), small_stack.files()
    more = {"stack_services": [*small_stack.variables["stack_services"], "prometheus"], "prometheus_port": 29090}
    # Started again and again: the kernel ends it each time.
    failed = small_stack.converge(**more, prometheus_memory="8m")
    assert failed.code != 0
    assert "prometheus is " in failed.output
    assert "out of memory" in failed.output
    assert small_stack.files() == files

    mended = small_stack.converge(**more)

    assert mended.code == 0, mended.output
    assert set(small_stack.containers()) == {*before, "prometheus"}
    assert small_stack.converge().code == 0
    assert small_stack.containers() == before


@pytest.mark.usefixtures("untouched")
def test_a_taken_network_range_is_reported(small_stack: SmallStack) -> None:
    docker("network", "create", "--subnet", "172.30.254.0/24", "cdc-provision-neighbour")
    try:
        outcome = small_stack.converge(stack_project="cdc-provision-other", stack_network_subnet="172.30.254.0/25")
    finally:
        docker("network", "rm", "cdc-provision-neighbour")
    assert outcome.code != 0
    assert "172.30.254.0/25 is used by docker's network cdc-provision-neighbour" in outcome.output
