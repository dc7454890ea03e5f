"""Every service runs, answers, and is confined as it should be."""

from __future__ import annotations

from deployment import NoAnswerError, Service, is_loopback, mebibytes, unmapped


def test_is_up_and_healthy(service: Service) -> None:
    service.deployment.expect_none(service.run_problem)


def test_health_endpoint_answers(service: Service) -> None:
    url = service.label("health")
    if not url:
        # No HTTP: its health check, which the engine runs, has said the same.
        return

    def problem() -> str:
        try:
            service.deployment.get(url)
        except NoAnswerError as error:
            return f"{service.name}: {error}"
        return ""

    service.deployment.expect_none(problem)


def test_was_not_killed_for_memory(service: Service) -> None:
    killed = [container["Name"] for container in service.containers if container["State"]["OOMKilled"]]

    assert not killed, (
        f"{service.name} ran out of its memory limit and was killed: raise its limit, or give it less to do"
    )


def test_has_a_memory_limit_and_stays_below_it(service: Service) -> None:
    assert service.memory_limit, f"{service.name} has no memory limit"
    for container in service.containers:
        limit = container["HostConfig"]["Memory"]
        used = service.deployment.memory_use.get(container["Id"], 0)
        assert limit, f"{service.name} runs without a memory limit"
        assert used < limit, f"{service.name} uses {mebibytes(used)} of {mebibytes(limit)}"


def test_runs_without_privileges(service: Service) -> None:
    for container in service.containers:
        host, config = container["HostConfig"], container["Config"]
        user = config["User"].partition(":")[0]
        assert user not in {"", "0", "root"}, f"{service.name} runs as root"
        assert not host["Privileged"], f"{service.name} is privileged"
        assert "ALL" in (host["CapDrop"] or []), f"{service.name} keeps capabilities: cap_drop is not ALL"
        assert not host["CapAdd"], f"{service.name} adds capabilities: {host['CapAdd']}"
        assert {"no-new-privileges", "no-new-privileges:true"} & set(host["SecurityOpt"] or []), (
            f"{service.name} may gain privileges: no-new-privileges is not set"
        )


def test_runs_the_declared_image(service: Service) -> None:
    other = {container["Config"]["Image"] for container in service.containers} - {service.declared["image"]}

    assert not other, f"{service.name} runs {', '.join(other)}, declared is {service.declared['image']}: run `make up`"


def test_image_is_built_here(service: Service) -> None:
    prefix, image = service.deployment.variable("stack_image_prefix", "cdc-workstation"), service.declared["image"]

    assert image.startswith(f"{prefix}/"), (
        f"{service.name} runs {image}, which is not one of {prefix}/*: is it from a hub?"
    )
    assert not image.endswith(":latest"), f"{service.name} runs {image}: a tag must say what it is"


def test_published_ports_listen_on_loopback_only(service: Service) -> None:
    # Only a person who wrote another address into the inventory wanted one.
    chosen = service.deployment.variable("stack_bind_address", "127.0.0.1")
    # A Spark driver on the host has its page on port 4040 too, on the stack's own network, where only containers are.
    inside = service.deployment.variable("stack_network_gateway", "172.30.57.1")
    for protocol, address, port in service.published():
        listening = service.deployment.listening.get((protocol, port), set())
        strangers = {unmapped(a) for a in (address, *listening)} - {chosen, inside}
        open_to_others = [a for a in strangers if not is_loopback(a)]
        assert listening, f"{service.name} is to publish port {port}, and nothing listens there"
        assert not open_to_others, (
            f"{service.name} publishes port {port} on {', '.join(open_to_others)}, not on loopback alone"
        )


def test_says_its_version(service: Service) -> None:
    assert service.label("version"), f"{service.name} has no label cdc-workstation.version, which `make status` shows"
