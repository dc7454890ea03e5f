"""Declare services as their roles do, in this process: the role's variables, its templates and `declare_service`."""

from __future__ import annotations

import importlib.util
import os
import pwd
import sys
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import filter_loader, init_plugin_loader, lookup_loader
from ansible.template import Templar

ROOT = Path(__file__).parents[2]
ROLES = ROOT / "roles"
SERVICES = sorted(path.parents[1].name for path in ROLES.glob("*/templates/compose.yml.j2"))
BASE_IMAGES = {suite: f"example/debian:{suite}" for suite in ("bookworm", "trixie")}
STACK_DIR = "/home/you/.local/share/cdc-workstation"


def load(path: str) -> ModuleType:
    """Load a plugin, which is part of no package, by its path in the repository."""
    spec = importlib.util.spec_from_file_location(Path(path).stem, ROOT / path)
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    # A dataclass looks its module up.
    sys.modules.setdefault(spec.name, loaded)
    spec.loader.exec_module(loaded)
    return loaded


plugin = load("roles/compose_service/action_plugins/declare_service.py")
missing_images = load("roles/compose_project/filter_plugins/missing_images.py").missing_images


@cache
def loader() -> DataLoader:
    """Return a loader of YAML files, once Ansible finds its plugins and those of the roles."""
    init_plugin_loader()
    lookup_loader.add_directory(str(ROLES / "stack" / "lookup_plugins"))
    for directory in ROLES.glob("*/filter_plugins"):
        filter_loader.add_directory(str(directory))
    return DataLoader()


@cache
def read(path: Path) -> Any:
    """Return a YAML file's data with its templates; nothing if there is no such file."""
    return loader().load_from_file(str(path), trusted_as_template=True) if path.exists() else {}


def facts() -> dict[str, Any]:
    """Return the facts that roles ask for, of this process's own user and Python."""
    user = pwd.getpwuid(os.getuid())
    python = {"version": {"major": sys.version_info.major, "minor": sys.version_info.minor}}
    own = {"user_dir": user.pw_dir, "user_id": user.pw_name, "user_uid": user.pw_uid, "user_gid": user.pw_gid}
    return {**own, "python": python}


def variables(role: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Return the variables of a role that is applied alone, in Ansible's order of precedence."""
    found: dict[str, Any] = {"ansible_facts": facts(), "stack_dir": STACK_DIR, "stack_base_images": BASE_IMAGES}
    for kind in ("defaults", "vars"):
        for name in ("stack", "compose_service", role):
            found = {**read(ROLES / name / kind / "main.yml"), **found} if kind == "defaults" else found
            found = {**found, **read(ROLES / name / kind / "main.yml")} if kind == "vars" else found
    return {**found, **settings}


def tasks(role: str, entry: str = "main") -> list[dict[str, Any]]:
    """Return the tasks of a role's entry point."""
    found: list[dict[str, Any]] = read(ROLES / role / "tasks" / f"{entry}.yml")
    return found


def included(role: str, entry: str, what: str) -> dict[str, Any]:
    """Return the task with which a role includes another one."""
    return next(task for task in tasks(role, entry) if task.get("ansible.builtin.include_role", {}).get("name") == what)


def role(name: str, entry: str = "main", **settings: Any) -> Any:
    """Return a role as its task that declares the service sees it."""
    task = included(name, entry, "compose_service")
    known = {**variables(name, {}), **task.get("vars", {}), **settings}
    return plugin.Role(Templar(loader(), variables=known), known, ROLES / name / "templates")


def images(name: str, **settings: Any) -> dict[str, dict[str, Any]]:
    """Return the images that a role names: its own, after that which it builds on."""
    found: dict[str, dict[str, Any]] = {}
    for task in tasks(name):
        other = task.get("ansible.builtin.include_role", {})
        if other.get("tasks_from") == "image":
            reference, context = plugin.build(role(other["name"], "image", **settings))
            found[other["name"]] = {"name": reference, "context": context}
    seeing = role(name, **settings).seeing(stack_images={key: image["name"] for key, image in found.items()})
    reference, context = plugin.build(seeing)
    return {**found, seeing.value("compose_service_name"): {"name": reference, "context": context}}


@dataclass
class Declared:
    """What roles declared in one run."""

    images: dict[str, dict[str, Any]] = field(default_factory=dict)
    services: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def files(self) -> dict[str, str]:
        """Path in the stack's directory to content."""
        kinds = ("public", "owned", "private")
        return {path: text for one in self.services.values() for kind in kinds for path, text in one[kind].items()}

    @property
    def secrets(self) -> dict[str, str]:
        """Name to value."""
        return {name: value for one in self.services.values() for name, value in one["secrets"].items()}

    @property
    def containers(self) -> dict[str, dict[str, Any]]:
        """Name and declaration of every container."""
        return {
            name: container
            for service in self.services
            for name, container in self.fragment(service)["services"].items()
        }

    def fragment(self, service: str) -> dict[str, Any]:
        """Return the compose file of a service."""
        found: dict[str, Any] = yaml.safe_load(self.files[f"{service}/compose.yml"])
        return found

    def builds(self, *present: str) -> list[str]:
        """Return the services whose images are provided, in their order, by an engine that has those of `present`."""
        machine = {"images": [self.images[service]["name"] for service in present]}
        needed = missing_images({"cdc_images": self.images, "cdc_services": self.services, "cdc_machine": machine})
        return [image["service"] for image in needed]


def declare(*roles: str, secrets: dict[str, str] | None = None, **settings: Any) -> Declared:
    """Declare the services of roles, one after the other, each as if it were applied alone."""
    declared = Declared()
    for name in roles:
        named = images(name, **settings)
        declared.images |= named
        seen = role(name, **settings).seeing(stack_images={key: image["name"] for key, image in named.items()})
        service = seen.value("compose_service_name")
        known = {**(secrets or {}), **declared.secrets}
        declared.services[service] = plugin.declare(seen, named[service]["name"], known)
    return declared


def refusals(name: str, **settings: Any) -> list[str]:
    """Return the messages of a role's assertions that do not hold."""
    known = variables(name, settings)
    templar = Templar(loader(), variables=known)
    found = []
    for task in tasks(name):
        check = task.get("ansible.builtin.assert")
        if check:
            conditions = check["that"] if isinstance(check["that"], list) else [check["that"]]
            if not all(templar.evaluate_conditional(condition) for condition in conditions):
                found.append(templar.template(check["fail_msg"]))
    return found
