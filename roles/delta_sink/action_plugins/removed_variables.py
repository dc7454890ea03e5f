"""Warn of variables that an inventory still sets and that no longer have a meaning. No core module gives warnings."""

from __future__ import annotations

from ansible import constants
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display


class ActionModule(ActionBase):
    """The action `removed_variables`."""

    _VALID_ARGS = frozenset(("removed",))

    def run(self, tmp=None, task_vars=None):
        """Warn of each variable of `removed` that is set, with what to use instead."""
        result = super().run(tmp, task_vars)
        for name, instead in self._task.args["removed"].items():
            if name in (task_vars or {}):
                # A warning in the result would be left to the callback, and `story` prints none.
                warning = f"[WARNING]: {name} is no longer used: {instead}."
                Display().display(warning, color=constants.COLOR_WARN, stderr=True)
        return result | {"changed": False}
