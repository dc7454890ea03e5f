"""The module that builds an image: what it asks the engine for, and what it says when a build fails."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

FILES = {"Dockerfile": "FROM scratch\n", "files/start": "#!/bin/sh\n"}


@pytest.fixture
def build(module: Any, program: Any, tmp_path: Path) -> Any:
    def run(script: str, **arguments: Any) -> dict[str, Any]:
        result: dict[str, Any] = module(
            "compose_project/library/image_build.py",
            _environment=program("docker", script),
            name="cdc-workstation/kafka:1-0",
            log=str(tmp_path / "logs" / "build.log"),
            **{"files": FILES, **arguments},
        )
        return result

    return run


def test_the_context_holds_the_rendered_files(build: Any, tmp_path: Path) -> None:
    # The last argument of `docker buildx build` is the context.
    script = f'for last; do :; done; cp -rp "$last" {tmp_path}/seen'

    assert build(script)["changed"]

    assert (tmp_path / "seen" / "Dockerfile").read_text() == "FROM scratch\n"
    assert (tmp_path / "seen" / "files" / "start").stat().st_mode & 0o777 == 0o755
    assert (tmp_path / "seen" / "Dockerfile").stat().st_mode & 0o777 == 0o644


def test_containers_can_read_what_was_built_under_a_strict_umask(build: Any, tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        build(f'for last; do :; done; cp -rp "$last" {tmp_path}/seen')
    finally:
        os.umask(before)

    assert (tmp_path / "seen" / "files").stat().st_mode & 0o777 == 0o755


def test_secrets_are_passed_only_where_their_file_exists(build: Any, tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("a certificate\n")

    build('echo "$@"', secrets={"ca": str(tmp_path / "ca.pem"), "pip_conf": str(tmp_path / "none")})

    asked = (tmp_path / "logs" / "build.log").read_text()
    assert f"--secret id=ca,src={tmp_path}/ca.pem" in asked
    assert "pip_conf" not in asked


def test_a_failed_build_shows_the_end_of_its_log(build: Any, tmp_path: Path) -> None:
    result = build("seq 1 100; echo the compiler is missing >&2; exit 3")

    assert result["failed"]
    assert result["rc"] == 3
    assert "The build of cdc-workstation/kafka:1-0 failed; nothing that runs was touched." in result["msg"]
    assert str(tmp_path / "logs" / "build.log") in result["msg"]
    assert result["msg"].endswith("the compiler is missing")
    assert "\n50\n" not in result["msg"]


def test_check_mode_builds_nothing(build: Any, tmp_path: Path) -> None:
    assert build(f"touch {tmp_path}/built", _check=True)["changed"]
    assert not (tmp_path / "built").exists()
