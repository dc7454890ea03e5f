"""Declare one service of the stack: which image it runs, which files it reads, which secrets it has.

`declare` is the whole of it, from plain functions over plain data. Nothing is written: `compose_project` deploys what
all roles declared, at once. What templates see beside their role's variables is said in this role's README.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import shlex
import string
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import yaml
from ansible.errors import AnsibleActionFail, AnsibleError
from ansible.plugins.action import ActionBase
from ansible.plugins.filter.core import to_yaml
from ansible.template import Templar, generate_ansible_template_vars, trust_as_template

ALPHABET, SECRET_LENGTH = string.ascii_letters + string.digits, 32
Tree = dict[str, str]


@dataclass(frozen=True)
class Service:
    """What a role says of its service; this role's argument specs describe each setting."""

    name: str
    version: str
    on_change: str
    validate: list[str]
    config_path: str
    secrets: dict[str, object]
    connection: dict[str, object]
    metrics: list[dict[str, str]]


class Role:
    """The templates and variables of a role that declares a service."""

    def __init__(self, templar: Templar, variables: Mapping[str, Any], templates: Path) -> None:
        self.templates = templates
        managed = generate_ansible_template_vars(str(templates))["ansible_managed"]
        self.variables = {"ansible_managed": managed, **variables}
        self._templar = templar.copy_with_new_env(available_variables=self.variables, searchpath=[str(templates)])

    def seeing(self, **more: object) -> Role:
        """Return the same role with more variables."""
        return Role(self._templar, {**self.variables, **more}, self.templates)

    def value(self, name: str) -> Any:
        """Return what a variable is here."""
        return self._templar.template(self.variables[name])

    def text(self, template: str) -> str:
        """Render a template's text, with the settings that Ansible has for templates in files."""
        trusted = trust_as_template(template)
        text = self._templar.template(trusted, escape_backslashes=False, overrides={"trim_blocks": True})
        return "" if text is None else str(text)

    def file(self, name: str) -> str:
        """Return a file's text, rendered if its name ends in `.j2`; an error names the file."""
        path = self.templates / name
        try:
            text = path.read_text(encoding="utf-8")
            return self.text(text) if path.suffix == ".j2" else text
        except UnicodeDecodeError as error:
            raise AnsibleActionFail(f"{path} is not UTF-8 text") from error
        except AnsibleError as error:
            raise AnsibleActionFail(f"{path}: {error}") from error

    def tree(self, directory: str) -> Tree:
        """Return relative path to content for all files of a directory.

        Names lose the suffix `.j2`; a template that renders to nothing gives no file.
        """
        root, tree = self.templates / directory, {}
        for path in sorted(path for path in root.rglob("*") if path.is_file()):
            name = path.relative_to(root)
            content = self.file(f"{directory}/{name}")
            if path.suffix != ".j2":
                tree[str(name)] = content
            elif content.strip():
                tree[str(name.with_suffix(""))] = content
        return tree


def sha256(data: object) -> str:
    """Return the digest of data, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()


def image_name(prefix: str, service: str, version: str, context: Tree) -> str:
    """Return the image's reference; its tag names the content, so an image of this name is what the context gives."""
    return f"{prefix}/{service}:{version}-{sha256(context)[:12]}"


def config_digest(on_change: str, config: Tree, private: Tree, own_secrets: Mapping[str, str]) -> str:
    """Return what recreates a container when it changes; constant for a service that reloads."""
    return "reload" if on_change == "reload" else sha256([config, private, own_secrets])[:16]


def settled(wanted: Mapping[str, object], known: Mapping[str, str]) -> dict[str, str]:
    """Return each secret's value: the user's own, else the one that is kept, else a new one."""
    return {
        name: str(value or "") or known.get(name) or "".join(secrets.choice(ALPHABET) for _ in range(SECRET_LENGTH))
        for name, value in wanted.items()
    }


def merged(base: Any, more: Any) -> Any:
    """Return `base` with `more` on top: dictionaries key by key, lists one after the other, of equal items the last."""
    if isinstance(base, dict) and isinstance(more, dict):
        return {**base, **{key: merged(base[key], value) if key in base else value for key, value in more.items()}}
    if isinstance(base, list) and isinstance(more, list):
        return [item for item in base if item not in more] + more
    return more


def hardened(fragment: dict[str, Any], hardening: dict[str, Any], digest: str) -> dict[str, Any]:
    """Return the fragment, each of its services with what every container gets unless the fragment says otherwise."""
    base = hardening | {"labels": {"cdc-workstation.config-digest": digest}}
    services = {
        # Swap beyond the limit would hide that memory is short, and make everything slow.
        name: merged(base | {"memswap_limit": service["mem_limit"]}, service)
        for name, service in fragment["services"].items()
    }
    return fragment | {"services": services}


def scrape_targets(metrics: list[dict[str, str]]) -> list[dict[str, Any]]:
    """Return what Prometheus reads as `file_sd` targets."""
    return [
        {
            "targets": [metric["target"]],
            "labels": {"job": metric["job"], "__metrics_path__": metric.get("path", "/metrics")},
        }
        for metric in metrics
    ]


def connection_lines(connection: Mapping[str, object]) -> str:
    """Return the service's lines of `connection.env`."""
    return "".join(f"{name}={shlex.quote(str(value))}\n" for name, value in connection.items())


def check_command(service: Service, image: str, user: str) -> list[str]:
    """Return the command that checks the staged configuration (`%s`), in the service's image and without a network."""
    program, *arguments = service.validate
    container = ["docker", "run", "--rm", "--network", "none", "--user", user, "--cap-drop", "ALL"]
    mounts = ["--volume", f"%s:{service.config_path}:ro", "--entrypoint", program]
    return [*container, *mounts, image, *arguments]


def as_yaml(data: dict[str, Any]) -> str:
    """Return the data as YAML, in the order of its keys."""
    text: str = to_yaml(data, indent=2, default_flow_style=False, sort_keys=False)
    return text


def below(directory: str, files: Tree) -> Tree:
    """Return the files with their paths below the directory."""
    return {f"{directory}/{name}": content for name, content in files.items()}


def build(role: Role) -> tuple[str, Tree]:
    """Return the image's reference and its build context, which sees no secrets: it decides the reference."""
    context = role.tree("build")
    name, version = role.value("compose_service_name"), role.value("compose_service_version")
    return image_name(role.value("stack_image_prefix"), name, version, context), context


def declare(role: Role, image: str, known: Mapping[str, str]) -> dict[str, Any]:
    """Return what a role declares of its service, which runs `image`. `known` has the secrets that exist."""
    own = settled(role.value("compose_service_secrets"), known)
    role = role.seeing(compose_service_image=image, stack_secrets=own)
    service = Service(**{part.name: role.value(f"compose_service_{part.name}") for part in fields(Service)})
    name = service.name
    config, private, host = role.tree("config"), role.tree("private"), role.tree("host-conf")
    fragment = hardened(
        yaml.safe_load(role.file("compose.yml.j2")),
        role.value("__compose_service_hardening"),
        config_digest(service.on_change, config, private, own),
    )
    uid, gid = role.value("stack_container_uid"), role.value("stack_container_gid")
    return {
        "image": image,
        "secrets": own,
        "checks": {f"{name}/config": check_command(service, image, f"{uid}:{gid}")} if service.validate else {},
        # Files for everybody who may look into the stack's directory, for the containers' user, and for you alone.
        "public": {
            f"{name}/compose.yml": role.text("{{ ansible_managed | comment }}\n") + as_yaml(fragment),
            f"{name}/etc/passwd": f"cdc:x:{uid}:{gid}:cdc-workstation:/tmp:/usr/sbin/nologin\n",
            f"targets/{name}.json": json.dumps(scrape_targets(service.metrics), indent=4, sort_keys=True),
            **below(f"{name}/config", config),
        },
        "owned": below(f"{name}/private", private),
        "private": {
            f"connection.d/{name}.env": connection_lines(service.connection),
            **below(f"{name}/host-conf", host),
        },
        # Directories that hold nothing else.
        "prune": [f"{name}/config", f"{name}/private", *([f"{name}/host-conf"] if host else [])],
    }


# Ansible's classes have no types.
class ActionModule(ActionBase):  # type: ignore[misc]
    """The action `declare_service`: remembers what the role that includes this one declares.

    In `ansible_facts`, by the service's name: `cdc_images`, reference and build context of each image, and
    `cdc_services`, the declarations. `cdc_machine` is what was there before (module `stack_present`).
    """

    _VALID_ARGS = frozenset(("templates", "image_only"))

    def run(self, tmp: None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Declare the service; with `image_only` its image alone, for a role that builds on it."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        variables = task_vars or {}
        facts = variables.get("ansible_facts", {})
        images, services = facts.get("cdc_images", {}), facts.get("cdc_services", {})
        role = Role(self._templar, variables, Path(self._task.args["templates"]))
        role = role.seeing(stack_images={name: image["name"] for name, image in images.items()})

        name = str(role.value("compose_service_name"))
        reference, context = build(role)
        result["ansible_facts"] = {"cdc_images": {**images, name: {"name": reference, "context": context}}}
        if not self._task.args.get("image_only"):
            if "cdc_machine" in facts:
                machine = facts["cdc_machine"]
            else:
                found = self._look(role, variables)
                if found.get("failed"):
                    return found
                machine = found["ansible_facts"]["cdc_machine"]
            declared = [service["secrets"] for service in services.values()]
            known = {key: value for secrets_ in (machine["secrets"], *declared) for key, value in secrets_.items()}
            result["ansible_facts"]["cdc_machine"] = machine
            result["ansible_facts"]["cdc_services"] = {**services, name: declare(role, reference, known)}
        # It holds secrets; a failure says what is wrong.
        result["_ansible_no_log"] = True
        return result

    def _look(self, role: Role, variables: dict[str, Any]) -> dict[str, Any]:
        """Ask the machine once which secrets and images there are."""
        arguments = {"stack_dir": role.value("stack_dir")}
        found: dict[str, Any] = self._execute_module("stack_present", module_args=arguments, task_vars=variables)
        return found
