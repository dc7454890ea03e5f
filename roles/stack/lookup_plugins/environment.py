"""Return the environment variables that are set where Ansible runs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from ansible.plugins.lookup import LookupBase

DOCUMENTATION = """
name: environment
short_description: Return the environment variables that are set where Ansible runs
description:
  - Returns one dictionary, name to value, of those that are set and not empty.
options:
  _terms: {description: Names., required: true}
  both_spellings:
    description: Whether a variable may be spelled in upper or lower case; it is returned in both.
    type: bool
    default: false
"""


def given(names: list[str], environment: Mapping[str, str], both_spellings: bool = False) -> dict[str, str]:
    """Return the variables that are set."""
    if not both_spellings:
        return {name: environment[name] for name in names if environment.get(name)}
    values = {name: environment.get(name) or environment.get(name.lower(), "") for name in names}
    return {spelled: value for name, value in values.items() if value for spelled in (name, name.lower())}


class LookupModule(LookupBase):
    """The lookup `environment`."""

    def run(self, terms: list[str], variables: Mapping[str, Any] | None = None, **kwargs: Any) -> list[dict[str, str]]:
        """Return a list with one dictionary."""
        self.set_options(var_options=variables, direct=kwargs)
        return [given(terms, os.environ, self.get_option("both_spellings"))]
