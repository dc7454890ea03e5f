"""Return a setting of another role: what the user set, else that role's own default."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase

DOCUMENTATION = """
name: setting
short_description: Return a setting of another role, what the user set or else that role's own default
description:
  - The way in which roles share values. The role that a variable is named after owns it, and its C(defaults) are the
    one place of its default. That role need not be part of the run.
  - M(ansible.builtin.include_vars) would put the default above the user's inventory.
options:
  _terms: {description: Names of variables., required: true}
"""

ROLES = Path(__file__).resolve().parents[2]


def owner(name: str, roles: Path = ROLES) -> str:
    """Return the role that the variable is named after: the longest name of a role that it starts with."""
    owners = [path.name for path in roles.iterdir() if name.startswith(f"{path.name}_")]
    if not owners:
        raise AnsibleLookupError(f"{name} is named after no role in {roles}")
    return max(owners, key=len)


class LookupModule(LookupBase):
    """The lookup `setting`."""

    def run(self, terms: list[str], variables: Mapping[str, Any] | None = None, **kwargs: Any) -> list[Any]:
        """Return the values."""
        self.set_options(var_options=variables, direct=kwargs)
        values = []
        for name in terms:
            path = ROLES / owner(name) / "defaults" / "main.yml"
            defaults = self._loader.load_from_file(str(path), trusted_as_template=True)
            if name not in defaults:
                raise AnsibleLookupError(f"{name} is not a setting of the role {owner(name)}")
            # A default may be worked out from others of its role.
            known = {**defaults, **(variables or {})}
            values.append(self._templar.copy_with_new_env(available_variables=known).template(known[name]))
        return values
