"""What every role says of itself agrees with what it does: defaults, argument specs, README, pins."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ansible_collections
import pytest
import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from declarations import load as load_module

ROOT = Path(__file__).parents[2]
ROLES = sorted(path.parent for path in (ROOT / "roles").glob("*/defaults"))
role_tables = load_module("docs/role_tables.py")

each_role = pytest.mark.parametrize("role", ROLES, ids=[role.name for role in ROLES])


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def defaults(role: Path) -> dict[str, Any]:
    return load(role / "defaults" / "main.yml") or {}


def options(role: Path) -> dict[str, Any]:
    found: dict[str, Any] = load(role / "meta" / "argument_specs.yml")["argument_specs"]["main"].get("options", {})
    return found


def is_computed(default: Any) -> bool:
    return "{{" in str(default)


@each_role
def test_argument_specs_name_exactly_the_defaults(role: Path) -> None:
    assert set(options(role)) == set(defaults(role))


@each_role
def test_argument_specs_state_the_defaults_that_hold(role: Path) -> None:
    stated = {name: option["default"] for name, option in options(role).items() if "default" in option}

    assert stated == {name: defaults(role)[name] for name in stated}


@each_role
def test_plain_defaults_are_stated_in_the_argument_specs(role: Path) -> None:
    plain = {
        n for n, value in defaults(role).items() if isinstance(value, str | int | float) and not is_computed(value)
    }

    assert plain == {name for name in plain if "default" in options(role)[name]}


@each_role
def test_argument_specs_accept_the_defaults_and_say_what_each_is(role: Path) -> None:
    for name, option in options(role).items():
        assert option.get("description"), name
        assert option.get("type"), name
        default = defaults(role)[name]
        if not is_computed(default) and default is not None:
            # A list or dictionary whose items are computed is checked by the role when it runs.
            checked = ArgumentSpecValidator({name: option}).validate({name: default})
            assert not checked.error_messages, name


@each_role
def test_public_variables_carry_the_roles_name(role: Path) -> None:
    assert all(name.startswith(f"{role.name}_") for name in defaults(role))


@each_role
def test_every_default_has_a_sentence_above_it(role: Path) -> None:
    lines = (role / "defaults" / "main.yml").read_text().splitlines()
    # A group of variables, one right below the other, shares the sentence above the first.
    blocks = "\n".join(lines).removeprefix("---\n").split("\n\n")
    bare = [block.splitlines()[0] for block in blocks if block.strip() and not block.lstrip().startswith("#")]

    assert not bare


@each_role
def test_readme_describes_variables_as_the_argument_specs_do(role: Path) -> None:
    readme = (role / "README.md").read_text()

    # `make docs` writes it.
    assert readme == role_tables.with_table(readme, role_tables.table(role))
    assert all(f"| `{name}` |" in readme for name in defaults(role))


@each_role
def test_no_description_is_copied(role: Path) -> None:
    described = [str(option["description"]) for option in options(role).values()]

    assert [text for text in set(described) if described.count(text) > 1] == []


@each_role
def test_role_says_what_it_is(role: Path) -> None:
    meta = load(role / "meta" / "main.yml")
    spec = load(role / "meta" / "argument_specs.yml")["argument_specs"]["main"]

    assert meta["galaxy_info"]["role_name"] == role.name
    assert meta["galaxy_info"]["license"] == "Apache-2.0"
    assert meta["galaxy_info"]["description"]
    assert spec["short_description"]
    assert (role / "README.md").read_text().startswith(f"# {role.name}\n")
    assert "## Example" in (role / "README.md").read_text()


@each_role
def test_every_pinned_release_is_kept_up_to_date(role: Path) -> None:
    text = (role / "defaults" / "main.yml").read_text()
    # Fewer than three numbers are a line of releases (Java 21, PostgreSQL 17): chosen, not updated.
    pinned = re.findall(r"^(\w+_version): *[\"']?\d+\.\d+\.\d+", text, re.MULTILINE)
    watched = re.findall(r"^# renovate: datasource=\S+ depName=\S+.*\n(\w+): ", text, re.MULTILINE)

    assert set(pinned) <= set(watched)


@each_role
def test_what_comes_from_a_hub_is_named_by_its_digest_where_preflight_looks(role: Path) -> None:
    dockerfile = role / "templates" / "build" / "Dockerfile.j2"
    taken = re.findall(
        r"\$\{IMAGE_HUB\}/(.*?)(?: AS \w+)?$", dockerfile.read_text() if dockerfile.exists() else "", re.M
    )
    images = {name: value for name, value in defaults(role).items() if name.endswith("_image")}

    assert taken == [f"{{{{ {name} }}}}" for name in images]
    assert all(re.fullmatch(r"[\w/]+:[\w.]+@sha256:[0-9a-f]{64}", value) for value in images.values())


def test_profiles_that_may_be_chosen_are_those_that_there_are() -> None:
    stack = ROOT / "roles" / "stack"
    profiles = defaults(stack)["stack_profile_services"]

    assert options(stack)["stack_profiles"]["choices"] == list(profiles)
    assert {name for services in profiles.values() for name in services} <= {role.name for role in ROLES}


def test_a_role_with_a_service_is_part_of_a_profile_and_of_the_playbook() -> None:
    declared = {path.parents[1].name for path in (ROOT / "roles").glob("*/templates/compose.yml.j2")}
    profiles = defaults(ROOT / "roles" / "stack")["stack_profile_services"]
    [play] = load(ROOT / "playbooks" / "up.yml")
    imported = [task for task in play["tasks"] if "ansible.builtin.import_role" in task]
    conditions = {task["ansible.builtin.import_role"]["name"]: task.get("when") for task in imported}

    assert declared == {name for services in profiles.values() for name in services}
    assert {name: conditions[name] for name in declared} == {name: f"'{name}' in stack_services" for name in declared}


def test_required_collections_are_those_that_the_ansible_package_bundles() -> None:
    bundled = Path(next(iter(ansible_collections.__path__)))
    for collection in load(ROOT / "requirements.yml")["collections"]:
        namespace, name = collection["name"].split(".")
        manifest = json.loads((bundled / namespace / name / "MANIFEST.json").read_text())
        assert collection["version"] == manifest["collection_info"]["version"], collection["name"]


def test_collections_that_are_used_are_required() -> None:
    text = "\n".join(
        path.read_text() for kind in ("roles", "playbooks", "molecule") for path in (ROOT / kind).rglob("*.yml")
    )
    used = set(re.findall(r"\b((?:ansible|community)\.(?!builtin\b)[a-z_]+)\.[a-z_0-9]+:", text))
    required = {collection["name"] for collection in load(ROOT / "requirements.yml")["collections"]}

    assert used <= required


def test_pins_of_the_python_environment_are_exact() -> None:
    text = (ROOT / "pyproject.toml").read_text()

    assert re.search(r'"ansible==\d+\.\d+\.\d+"', text)
    assert (ROOT / "uv.lock").exists()


@each_role
def test_what_a_role_works_out_for_itself_is_named_as_private(role: Path) -> None:
    """Preflight takes `<role>_x` for a setting, and a user who sets it would win over the role's own value."""
    path = role / "vars" / "main.yml"
    for_templates = {"compose_service_dir", "compose_service_unless_stopped"}
    names = set(load(path)) if path.is_file() else set()
    assert {name for name in names - for_templates if not name.startswith("__")} == set()


def test_what_root_fetches_goes_through_the_users_proxy() -> None:
    fetches = {"ansible.builtin.apt"}

    def tasks(entries: list[dict[str, Any]], inherited: dict[str, Any]) -> Iterator[dict[str, Any]]:
        for entry in entries:
            # Tasks of a block have what it says.
            yield from tasks(entry["block"], entry) if "block" in entry else [{**inherited, **entry}]

    files = sorted((ROOT / "roles").glob("*/tasks/*.yml"))
    found = [task for file in files for task in tasks(load(file), {}) if fetches & set(task)]

    assert found
    assert [task["name"] for task in found if task.get("environment") != "{{ __stack_proxies }}"] == []
