"""Judge settings on the controller and the machine on the target; report every problem at once."""

from __future__ import annotations

import difflib
import importlib.util
from pathlib import Path

import yaml
from ansible.errors import AnsibleError
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.plugins.action import ActionBase

SUPPORTED = {"Debian": ("12", "13"), "Ubuntu": ("24",)}
PYTHONS = ("3.11", "3.12", "3.13")
# A name this close to a known one, and not known itself, is a typing error.
CLOSE = 0.9
# Settings that the machine is compared with, by the module's name for each.
MACHINE = {
    "address": "stack_bind_address",
    "project": "stack_project",
    "stack_dir": "stack_dir",
    "subnet": "stack_network_subnet",
    "min_memory_mb": "stack_min_memory_mb",
    "min_disk_mb": "stack_min_disk_mb",
    "image_prefix": "stack_image_prefix",
    "registry": "stack_registry",
    "builds": "stack_build_images",
    "image_hub": "stack_image_hub",
    "profiles": "stack_profile_services",
    "debian_mirror": "stack_debian_mirror",
    "delta_tables_dir": "stack_delta_tables_dir",
    "private": "stack_private",
}


def _load_rules():
    """Load the pure rules; only modules can import a role's `module_utils`."""
    path = Path(__file__).parents[1] / "module_utils" / "setting_rules.py"
    spec = importlib.util.spec_from_file_location("setting_rules", path)
    rules = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(rules)
    return rules


class ActionModule(ActionBase):
    """The action `preflight`."""

    _VALID_ARGS = frozenset(("roles_dir", "internal", "machine"))

    def run(self, tmp=None, task_vars=None):
        """Fail with the list of all problems, or succeed."""
        result = super().run(tmp, task_vars)
        roles_dir = Path(self._task.args["roles_dir"])
        specs = self._specs(roles_dir)
        with_machine = self._task.args.get("machine", True)
        # A role that declares a service has a fragment of compose.
        deployable = {path.parents[1].name for path in roles_dir.glob("*/templates/compose.yml.j2")}
        services = self._services(task_vars) if with_machine else []
        wanted = ["stack", "docker", *(name for name in services if name in deployable)]
        problems = self._setting_problems(
            {name: specs[name] for name in wanted}, specs, task_vars, deployable if with_machine else ()
        )
        if with_machine:
            problems += self._platform_problems(task_vars["ansible_facts"])
        if with_machine and not problems:
            module = self._execute_module(
                module_name="preflight",
                module_args=self._machine(wanted, services, specs, task_vars),
                task_vars=task_vars,
            )
            if module.get("failed"):
                return module
            problems += module["problems"]
        if problems:
            result["failed"] = True
            listed = "\n".join(f"  {number}. {problem}" for number, problem in enumerate(problems, 1))
            result["msg"] = f"Nothing was changed. {len(problems)} thing(s) to correct first:\n{listed}"
        result["changed"] = False
        return result

    def _services(self, task_vars):
        """Return the names in `stack_services`, also where it is a text, which the rules report."""
        try:
            services = self._value("stack_services", task_vars)
        except AnsibleError:
            return []
        if isinstance(services, str):
            services = services.replace(",", " ").split()
        return [str(name) for name in services] if isinstance(services, list) else []

    def _machine(self, wanted, services, specs, task_vars):
        """Return what the module compares the machine with."""
        ports = {
            name: self._value(name, task_vars)
            for role in wanted
            for name in specs[role]
            if name.endswith("_port") and specs[role][name].get("type") == "int" and name in task_vars
        }
        # What a role takes from a hub is named by its variables `..._image`.
        images = {
            role: {n: self._value(n, task_vars) for n in specs[role] if n.endswith("_image") and n in task_vars}
            for role in wanted
        }
        return {
            **{argument: self._value(name, task_vars) for argument, name in MACHINE.items()},
            "services": [name.replace("_", "-") for name in services],
            "ports": ports,
            "hub_images": {role: named for role, named in images.items() if named},
            "python": task_vars["ansible_facts"]["python"]["executable"],
            "may_become_root": "ansible_become_password" in task_vars,
        }

    @staticmethod
    def _specs(roles_dir: Path) -> dict[str, dict]:
        """Return role name to the options of its `main` entry point."""
        return {
            path.parent.parent.name: yaml.safe_load(path.read_text(encoding="utf-8"))["argument_specs"]["main"].get(
                "options", {}
            )
            for path in roles_dir.glob("*/meta/argument_specs.yml")
        }

    def _value(self, name, task_vars):
        """Return a variable's value with its templates resolved."""
        return self._templar.template(task_vars[name])

    def _setting_problems(self, wanted, specs, task_vars, deployable=()):
        """Name settings of a wrong type or value, and names that look like a setting and are none."""
        options = {name: option for role in wanted.values() for name, option in role.items()}
        values = {}
        for name in options:
            try:
                values[name] = self._value(name, task_vars)
            except (AnsibleError, KeyError):
                # A default that rests on what the run finds out later; the role checks it when it starts.
                continue
        problems = _load_rules().judge(values, options, deployable)
        judged = {problem.split(" ", 1)[0] for problem in problems}
        for role, spec in wanted.items():
            # What mappings hold, and items that are mappings.
            deep = {name: option for name, option in spec.items() if name in values and name not in judged}
            checked = ArgumentSpecValidator(deep).validate({name: values[name] for name in deep})
            problems += [f"{role}: {message}. See roles/{role}/README.md." for message in checked.error_messages]
        known = {name for options in specs.values() for name in options}
        prefixes = tuple(f"{role}_" for role in specs)
        for name in sorted(set(task_vars) - known):
            if name.startswith(("ansible_", "__", "inventory_", "group")) or name in self._task.args.get(
                "internal", ()
            ):
                continue
            close = difflib.get_close_matches(name, known, n=1, cutoff=0.6 if name.startswith(prefixes) else CLOSE)
            if name.startswith(prefixes) or close:
                hint = f" Did you mean {close[0]}?" if close else ""
                problems.append(f"{name} is not a setting of any role.{hint}")
        return problems

    @staticmethod
    def _platform_problems(facts):
        """Name what is not supported of the operating system and Python."""
        problems = []
        name, release = facts["distribution"], facts["distribution_major_version"]
        if release not in SUPPORTED.get(name, ()):
            problems.append(f"{name} {release} is not supported: use Debian 12 or 13, or Ubuntu 24.04.")
        python = "{major}.{minor}".format(**facts["python"]["version"])
        if python not in PYTHONS:
            problems.append(f"Python {python} is not supported: use one of {', '.join(PYTHONS)}.")
        return problems
