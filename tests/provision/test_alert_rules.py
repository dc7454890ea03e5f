"""The alert rules, checked and unit-tested by promtool."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from jinja2 import Environment, StrictUndefined

ROLE = Path(__file__).parents[2] / "roles" / "prometheus"
RULES = ROLE / "templates" / "config" / "rules" / "cdc_alerts.yml.j2"
RULE_TESTS = Path(__file__).parent / "rules"


@pytest.fixture(scope="session")
def promtool_image() -> str:
    """The stack's image of Prometheus, which has promtool."""
    query = ["docker", "image", "ls", "--format={{.Repository}}:{{.Tag}}", "--filter=reference=*/prometheus:*-*"]
    images = subprocess.run(query, capture_output=True, text=True, check=True).stdout.split()
    assert images, "the stack's image of Prometheus is not there: run `make up` first"
    return images[0]


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    """The rule file as the role renders it with its defaults, beside its tests."""
    defaults = yaml.safe_load((ROLE / "defaults" / "main.yml").read_text())
    # Ansible's settings for templates; the rules use no filter but this one.
    environment = Environment(trim_blocks=True, keep_trailing_newline=True, undefined=StrictUndefined)  # noqa: S701
    environment.filters["comment"] = lambda text: f"# {text}"
    rendered = environment.from_string(RULES.read_text()).render(defaults, ansible_managed="Ansible managed")
    (tmp_path / "cdc_alerts.yml").write_text(rendered)
    for path in RULE_TESTS.glob("*.yml"):
        shutil.copy(path, tmp_path)
    return tmp_path


def test_rules_behave_as_their_unit_tests_say(rules: Path, promtool_image: str) -> None:
    names = sorted(path.name for path in RULE_TESTS.glob("*_test.yml"))
    container = ["docker", "run", "--rm", "--network=none", f"--volume={rules}:/rules:ro", "--workdir=/rules"]
    promtool = [*container, "--entrypoint=promtool", promtool_image, "test", "rules"]

    result = subprocess.run([*promtool, *names], capture_output=True, text=True, check=False)

    assert result.returncode == 0, result.stdout + result.stderr


def test_every_rule_has_a_unit_test(rules: Path) -> None:
    [group] = yaml.safe_load((rules / "cdc_alerts.yml").read_text())["groups"]
    tested = {
        case["alertname"]
        for path in RULE_TESTS.glob("*_test.yml")
        for test in yaml.safe_load(path.read_text())["tests"]
        for case in test["alert_rule_test"]
        if case.get("exp_alerts")
    }

    assert group["name"] == "cdc_alerts"
    assert {rule["alert"] for rule in group["rules"]} == tested


def test_every_rule_tells_a_person_what_is_wrong(rules: Path) -> None:
    [group] = yaml.safe_load((rules / "cdc_alerts.yml").read_text())["groups"]

    for rule in group["rules"]:
        assert rule["labels"]["severity"] in {"critical", "warning"}, rule["alert"]
        assert set(rule["annotations"]) == {"summary", "description"}, rule["alert"]
