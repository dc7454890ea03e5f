"""Check settings on the controller and the machine on the target; report every problem at once."""

from __future__ import annotations

import difflib
from pathlib import Path

import yaml
from ansible.errors import AnsibleError
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.plugins.action import ActionBase

SUPPORTED = {"Debian": ("12", "13"), "Ubuntu": ("24",)}
PYTHONS = ("3.11", "3.12", "3.13")
# A name this close to a known one, and not known itself, is a typing error.
CLOSE = 0.9


class ActionModule(ActionBase):
    """The action `preflight`."""

    def run(self, tmp=None, task_vars=None):
        """Fail with the list of all problems, or succeed."""
        result = super().run(tmp, task_vars)
        roles_dir = Path(self._task.args["roles_dir"])
        specs = self._specs(roles_dir)
        wanted = [*self._task.args["services"], *self._task.args["roles"]]
        problems = [
            f"stack_services names {name}, and there is no such role below {roles_dir}."
            for name in wanted
            if name not in specs
        ]
        problems += self._setting_problems({name: specs[name] for name in wanted if name in specs}, specs, task_vars)
        problems += self._platform_problems(task_vars["ansible_facts"])
        if not problems:
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
            hub_images = {role: named for role, named in images.items() if named}
            module = self._execute_module(
                module_name="preflight",
                module_args={**self._task.args["machine"], "ports": ports, "hub_images": hub_images},
                task_vars=task_vars,
            )
            if module.get("failed"):
                return module
            problems += module["problems"]
        if problems:
            result["failed"] = True
            listed = "\n".join(f"  {number}. {problem}" for number, problem in enumerate(problems, 1))
            result["msg"] = f"Nothing was changed. {len(problems)} thing(s) to mend first:\n{listed}"
        result["changed"] = False
        return result

    @staticmethod
    def _specs(roles_dir: Path) -> dict[str, dict]:
        """Return role name to the options of its `main` entry point."""
        return {
            path.parent.parent.name: yaml.safe_load(path.read_text())["argument_specs"]["main"].get("options", {})
            for path in roles_dir.glob("*/meta/argument_specs.yml")
        }

    def _value(self, name, task_vars):
        """Return a variable's value with its templates resolved."""
        return self._templar.template(task_vars[name])

    def _setting_problems(self, wanted, specs, task_vars):
        """Name settings of a wrong type or value, and names that look like a setting and are none."""
        problems = []
        for role, options in wanted.items():
            values = {}
            for name in options:
                try:
                    values[name] = self._value(name, task_vars)
                except (AnsibleError, KeyError):
                    # A default that rests on what the run finds out later; the role checks it when it starts.
                    continue
            spec = {name: option for name, option in options.items() if name in values}
            checked = ArgumentSpecValidator(spec).validate(values)
            problems += [f"{role}: {message}. See roles/{role}/README.md." for message in checked.error_messages]
        known = {name for options in specs.values() for name in options}
        prefixes = tuple(f"{role}_" for role in specs)
        for name in sorted(set(task_vars) - known):
            if name.startswith(("ansible_", "__", "inventory_", "group")) or name in self._task.args["internal"]:
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
