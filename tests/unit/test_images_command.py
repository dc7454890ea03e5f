"""`python -m images`: what it says where it cannot do what it is asked."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from images.engine import ImagesError, declared, inspect
from images.registry import push

Program = Callable[[str, str], dict[str, str]]

FIRST = "localhost:5000/team/first:1-aaaaaaaaaaaa"


def run(root: Path, environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "images", *arguments],
        cwd=root,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_without_a_stack_it_says_what_to_do(root: Path, tmp_path: Path) -> None:
    result = run(root, {}, "--stack-dir", str(tmp_path), "report")

    assert result.returncode == 1
    assert "No stack was deployed" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_missing_archive_is_said(root: Path, tmp_path: Path) -> None:
    result = run(root, {}, "load", str(tmp_path / "none.tar"))

    assert result.returncode == 1
    assert "There is no" in result.stderr


def test_images_that_the_engine_does_not_have_are_all_named(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", program("docker", "true")["PATH"])

    with pytest.raises(ImagesError, match=r"does not have a:1, b:2: `make up`"):
        inspect(["b:2", "a:1"])


def test_the_declared_images_are_those_of_the_composition_once_each(
    program: Program, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "compose.yml").touch()
    monkeypatch.setenv("PATH", program("docker", "printf 'spark:1\\nkafka:1\\nspark:1\\n'")["PATH"])

    assert declared(tmp_path) == ["kafka:1", "spark:1"]


def test_an_image_that_is_named_by_the_registry_already_is_not_removed_after_its_push(
    program: Program, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    found = '[{"Id": "sha256:1", "Size": 1, "Created": "2026-11-01T00:00:00.1Z", "Architecture": "amd64"}]'
    script = f"""echo "$@" >>{tmp_path}/calls
case "$*" in "image ls"*) echo {FIRST};; "image inspect"*) echo '{found}';; esac"""
    monkeypatch.setenv("PATH", program("docker", script)["PATH"])

    push([FIRST], "localhost:5000/team", lambda _: None)

    calls = (tmp_path / "calls").read_text().splitlines()
    assert f"image push --quiet {FIRST}" in calls
    assert not [call for call in calls if call.startswith(("image rm", "image tag"))]


def test_the_registry_is_told_by_what_it_said(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    found = '[{"Id": "sha256:1", "Size": 1, "Created": "2026-11-01T00:00:00.1Z", "Architecture": "amd64"}]'
    script = f"""case "$*" in
"image ls"*) echo {FIRST};;
"image inspect"*) echo '{found}';;
"image push"*) echo 'denied: requested access' >&2; exit 1;;
esac"""
    monkeypatch.setenv("PATH", program("docker", script)["PATH"])

    with pytest.raises(ImagesError, match=r"could not be pushed: denied: requested access\n.*docker login"):
        push([FIRST], "registry.example/other", lambda _: None)
