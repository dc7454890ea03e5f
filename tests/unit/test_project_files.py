"""Files for contributors and for CI: what they name exists, and their own programs accept them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

FENCE = re.compile(r'^```yaml title="([^"]+)"\n(.*?)^```$', re.MULTILINE | re.DOTALL)
PIN = re.compile(r"^ *# renovate: (.*)\n *(\w+): *(\S+)$", re.MULTILINE)


def renovate(root: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((root / "renovate.json").read_text())
    return found


def python_pattern(expression: str) -> re.Pattern[str]:
    """A regular expression of JavaScript, whose named groups are written without the P."""
    return re.compile(re.sub(r"\(\?<(?=\w)", "(?P<", expression))


def found_pins(root: Path) -> Iterator[tuple[str, dict[str, str | None]]]:
    """What Renovate's own managers of this repository find: the file, and the groups of a match."""
    for manager in renovate(root)["customManagers"]:
        files = [python_pattern(pattern.strip("/")) for pattern in manager["managerFilePatterns"]]
        tracked = subprocess.run(["git", "ls-files"], cwd=root, capture_output=True, text=True, check=True).stdout
        for name in tracked.splitlines():
            if any(pattern.search(name) for pattern in files) and (root / name).is_file():
                for expression in manager["matchStrings"]:
                    for match in python_pattern(expression).finditer((root / name).read_text()):
                        yield name, match.groupdict()


def test_renovate_finds_every_pin_with_its_version(root: Path) -> None:
    written = {
        (str(path.relative_to(root)), value.strip("\"'"))
        for path in (root / "roles").rglob("*")
        if path.suffix in (".yml", ".yaml", ".j2")
        for _, _, value in PIN.findall(path.read_text())
    }
    found = set()
    for name, groups in found_pins(root):
        digest = f"@{groups['currentDigest']}" if groups["currentDigest"] else ""
        image = f"{groups['depName']}:" if groups["datasource"] == "docker" else ""
        found.add((name, f"{image}{groups['currentValue']}{digest}"))
    assert found == written
    assert len(found) > 10


def test_every_renovate_comment_is_followed_by_its_pin(root: Path) -> None:
    texts = [path.read_text() for path in (root / "roles").rglob("*") if path.suffix in (".yml", ".yaml", ".j2")]
    comments = sum(text.count("# renovate:") for text in texts)
    assert comments == len(list(found_pins(root)))


def test_renovate_rules_name_dependencies_that_there_are(root: Path) -> None:
    known = {groups["depName"] for _, groups in found_pins(root)}
    locked = set(re.findall(r'^name = "([^"]+)"$', (root / "uv.lock").read_text(), re.MULTILINE))
    named = {name for rule in renovate(root)["packageRules"] for name in rule.get("matchPackageNames", ())}
    assert named - known - locked == set()


@pytest.mark.parametrize(
    ("schema", "path"),
    [
        ("renovate", "renovate.json"),
        ("github-workflows", ".github/workflows/ci.yml"),
        ("github-issue-forms", ".github/ISSUE_TEMPLATE/bug.yml"),
        ("github-issue-forms", ".github/ISSUE_TEMPLATE/idea.yml"),
        ("github-issue-config", ".github/ISSUE_TEMPLATE/config.yml"),
        ("github-workflows", "docs/ci.md#.github/workflows/test.yml"),
        ("gitlab-ci", "docs/ci.md#.gitlab-ci.yml"),
    ],
)
def test_file_is_valid_for_its_program(root: Path, tmp_path: Path, schema: str, path: str) -> None:
    page, _, title = path.partition("#")
    file = root / page
    if title:
        file = tmp_path / "file.yml"
        file.write_text(dict(FENCE.findall((root / page).read_text()))[title])
    run = subprocess.run(
        [sys.executable, "-m", "check_jsonschema", "--builtin-schema", f"vendor.{schema}", file],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.parametrize("path", ["CONTRIBUTING.md", "docs/ci.md", ".github/workflows/ci.yml", ".ci/run"])
def test_make_targets_that_are_named_exist(root: Path, path: str) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (root / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"\bmake (?:-C \S+ |--\S+ )*([a-z-]+)\b", (root / path).read_text()))
    assert named
    assert named - targets == set()


@pytest.mark.parametrize("path", ["CONTRIBUTING.md", "SECURITY.md", "CODE_OF_CONDUCT.md", "CHANGELOG.md"])
def test_files_that_are_linked_exist(root: Path, path: str) -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", (root / path).read_text())
    assert [link for link in links if not (root / link).exists()] == []


def test_ci_workflow_runs_the_repository_own_script(root: Path) -> None:
    workflow = yaml.safe_load((root / ".github/workflows/ci.yml").read_text())
    [job] = workflow["jobs"].values()
    assert ".ci/run" in [step.get("run") for step in job["steps"]]


def test_hooks_run_the_tools_of_the_environment(root: Path) -> None:
    [repository] = yaml.safe_load((root / ".pre-commit-config.yaml").read_text())["repos"]
    linted = re.search(r"^lint:.*\n((?:\t.*\n)+)", (root / "Makefile").read_text(), re.MULTILINE)
    assert linted
    tools = {Path(hook["entry"].split()[0]).name for hook in repository["hooks"]}
    assert tools == set(re.findall(r"@([\w-]+)", linted[1]))
