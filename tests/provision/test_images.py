"""Images that were built elsewhere: from an archive, without a network, and from a registry of the user's."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tenacity import retry, stop_after_delay, wait_fixed

from cdc_workstation.clients.http import direct_session
from conftest import SmallStack, docker, installed
from images.archive import load, save
from images.engine import ImagesError, declared
from images.registry import pull, push

pytestmark = pytest.mark.timeout(400)

# The tests' own names for the images: those of the stack that runs stay as they are.
PREFIX = "cdc-provision-images"
BASE = "cdc-workstation/base:{suite}-{{{{ stack_base_recipe | hash('sha256') | truncate(12, true, '') }}}}"
SETTINGS: dict[str, Any] = {
    "stack_image_prefix": PREFIX,
    # Part of a Dockerfile and so of its image's tag.
    "stack_base_images": {suite: BASE.format(suite=suite) for suite in ("bookworm", "trixie")},
    # As `make up ARGS="-e stack_build_images=false"` gives it.
    "stack_build_images": "false",
}


def silent(_: str) -> None:
    """Print nothing."""


def own_images() -> list[str]:
    """Return the references that the engine has under the tests' own prefix."""
    return docker("image", "ls", "--format", "{{.Repository}}:{{.Tag}}", f"{PREFIX}/*").split()


def running(stack: SmallStack) -> set[str]:
    """Return the references of the images that the stack's containers run."""
    ids = [identifier for identifier, _ in stack.containers().values()]
    return set(docker("inspect", "--format", "{{.Config.Image}}", *ids).split())


def remove_own_images() -> None:
    if own_images():
        docker("image", "rm", "--no-prune", *own_images())


@pytest.fixture
def copies(small_stack: SmallStack) -> Iterator[list[str]]:
    """The small stack's images under names of the tests' own; the stack is as it was afterwards."""
    found = declared(small_stack.stack_dir)
    assert found
    for reference in found:
        docker("image", "tag", reference, f"{PREFIX}/{reference.rsplit('/', 1)[-1]}")
    try:
        yield own_images()
    finally:
        restored = small_stack.converge() if running(small_stack) != set(found) else None
        remove_own_images()
        assert restored is None or restored.code == 0, restored.output


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A registry on loopback, as `host:port`."""
    program = installed("docker-registry", "docker-registry")
    directory = tmp_path_factory.mktemp("registry")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    configuration = directory / "config.yml"
    configuration.write_text(
        f"version: 0.1\nlog: {{level: warn}}\nstorage: {{filesystem: {{rootdirectory: {directory}/data}}}}\n"
        f"http: {{addr: '{address}'}}\n"
    )
    with (directory / "log").open("w") as log:
        process = subprocess.Popen([program, "serve", str(configuration)], stdout=log, stderr=log)
    try:
        answers(address)
        yield address
    finally:
        process.terminate()
        process.wait(timeout=20)


@retry(stop=stop_after_delay(20), wait=wait_fixed(0.2), reraise=True)
def answers(address: str) -> None:
    with direct_session() as session:
        session.get(f"http://{address}/v2/", timeout=2).raise_for_status()


@pytest.fixture
def offline(small_stack: SmallStack) -> Iterator[SmallStack]:
    """The small stack, provisioned without a network."""
    if os.geteuid() != 0:
        pytest.skip("only root may take the network away")
    installed("ip", "iproute2")
    with small_stack.without_network() as alone:
        yield alone


def test_an_archive_is_all_that_a_machine_without_network_needs(
    offline: SmallStack, copies: list[str], tmp_path: Path
) -> None:
    archive = tmp_path / "images.tar"
    save(copies, archive, silent)
    remove_own_images()
    began = str(int(time.time()))
    before = offline.containers()

    refused = offline.converge(**SETTINGS)
    assert refused.code != 0
    assert "make images-load" in refused.output
    assert offline.containers() == before

    load(archive, silent)
    outcome = offline.converge(**SETTINGS)

    assert outcome.code == 0, outcome.output
    assert running(offline) == set(copies)
    again = offline.converge(**SETTINGS)
    assert again.code == 0, again.output
    assert again.changed == 0, again.output
    pulled = docker("events", "--since", began, "--until", str(int(time.time())), "--filter", "event=pull")
    assert pulled == ""


@pytest.mark.parametrize("left", [0.3, 0.999])
def test_of_an_archive_that_was_cut_off_nothing_is_loaded(copies: list[str], tmp_path: Path, left: float) -> None:
    archive = tmp_path / "images.tar"
    save(copies, archive, silent)
    os.truncate(archive, int(archive.stat().st_size * left))
    remove_own_images()

    with pytest.raises(ImagesError, match="Nothing was loaded"):
        load(archive, silent)

    assert own_images() == []


def test_a_damaged_archive_names_the_image_and_loads_nothing(copies: list[str], tmp_path: Path) -> None:
    archive = tmp_path / "images.tar"
    save(copies[:1], archive, silent)
    with archive.open("r+b") as file:
        # In the middle of the largest layer.
        file.seek(archive.stat().st_size // 2)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 0xFF]))
    remove_own_images()

    with pytest.raises(ImagesError, match=copies[0]):
        load(archive, silent)

    assert own_images() == []


def test_what_a_machine_does_not_have_it_pulls_from_the_registry(
    small_stack: SmallStack, copies: list[str], registry: str
) -> None:
    push(copies, f"{registry}/team", silent)
    remove_own_images()

    outcome = small_stack.converge(**SETTINGS, stack_registry=f"{registry}/team")

    assert outcome.code == 0, outcome.output
    assert running(small_stack) == set(copies)
    assert docker("image", "ls", "--quiet", f"{registry}/team/*") == ""


def test_images_can_be_pulled_on_their_own(copies: list[str], registry: str) -> None:
    push(copies, f"{registry}/own", silent)
    remove_own_images()

    pull(copies, f"{registry}/own", silent)

    assert sorted(own_images()) == sorted(copies)


def test_an_image_that_nobody_has_is_named(small_stack: SmallStack, copies: list[str], registry: str) -> None:
    remove_own_images()

    outcome = small_stack.converge(**SETTINGS, stack_registry=f"{registry}/empty")

    assert outcome.code != 0
    assert f"is not on this machine and not in {registry}/empty" in " ".join(outcome.output.split())
