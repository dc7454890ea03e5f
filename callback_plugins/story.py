"""Print a play as the story of what happened: a line a role, a line a change, one clear message a failure."""

from __future__ import annotations

import time

from ansible import constants
from ansible.plugins.callback.default import CallbackModule as DefaultCallback

DOCUMENTATION = """
name: story
type: stdout
short_description: A line a role, a line a change, one clear message a failure
description:
  - What is already as declared is passed over in silence but for its role's line; C(-v) shows everything.
extends_documentation_fragment:
  - default_callback
  - result_format_callback
"""

# Roles that do a service's work on its behalf: the story names the service.
INTERNAL = {"compose_service", "stack"}
# What a play says to people in its own words.
DEBUG = {"debug", "ansible.builtin.debug"}
# A task without a change is worth a line from this long on.
SLOW_SECONDS = 8.0


class CallbackModule(DefaultCallback):
    """The callback `story`."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "story"

    def __init__(self) -> None:
        super().__init__()
        self._began = time.monotonic()
        self._task_began = self._began
        self._role = ""
        self._verbose = self._display.verbosity > 0

    def v2_playbook_on_play_start(self, play):
        """Name the play."""
        if self._verbose:
            return super().v2_playbook_on_play_start(play)
        return self._display.display(f"\n{play.get_name()}", color="bright purple")

    def v2_playbook_on_task_start(self, task, is_conditional):
        """Take the time; a line appears when it is known that the task applies."""
        self._task_began = time.monotonic()
        if self._verbose:
            super().v2_playbook_on_task_start(task, is_conditional)

    def v2_playbook_on_handler_task_start(self, task):
        """Handlers tell what they did like tasks."""
        self._task_began = time.monotonic()
        if self._verbose:
            return super().v2_playbook_on_handler_task_start(task)
        return None

    def _chapter(self, task):
        role = task._role.get_name() if task._role else ""
        if not role or role in INTERNAL or role == self._role:
            return
        self._role = role
        self._display.display(f"  {role.replace('_', '-')}", color=constants.COLOR_HIGHLIGHT)

    def _line(self, host, word, text, color):
        took = time.monotonic() - self._task_began
        seconds = f"  ({took:.0f} s)" if took >= 1 else ""
        where = "" if host == "localhost" else f"[{host}] "
        self._display.display(f"    {word}  {where}{text}{seconds}", color=color)

    def _say(self, message):
        lines = message if isinstance(message, list) else str(message).splitlines()
        self._display.display("\n" + "\n".join(str(line) for line in lines))

    def v2_runner_on_ok(self, result):
        """Tell what changed, and what took long."""
        if self._verbose:
            return super().v2_runner_on_ok(result)
        self._chapter(result.task)
        name = result.task.get_name().split(" : ", 1)[-1]
        if result.result.get("changed"):
            self._line(result.host.get_name(), "changed", name, constants.COLOR_CHANGED)
            # What a module found and repaired, in its own words.
            for sentence in result.result.get("told", []):
                self._display.display(f"             {sentence}", color=constants.COLOR_CHANGED)
            return None
        if result.task.action in DEBUG:
            return self._say(result.result.get("msg", ""))
        if time.monotonic() - self._task_began >= SLOW_SECONDS:
            return self._line(result.host.get_name(), "     ok", name, constants.COLOR_OK)
        return None

    def v2_runner_item_on_ok(self, result):
        """The task's own line says it."""
        if self._verbose:
            super().v2_runner_item_on_ok(result)

    def v2_playbook_on_include(self, included_file):
        """An include is no event of the story."""
        if self._verbose:
            super().v2_playbook_on_include(included_file)

    def v2_runner_on_skipped(self, result):
        """What does not apply is no event of the story."""
        if self._verbose:
            super().v2_runner_on_skipped(result)

    def v2_runner_item_on_skipped(self, result):
        """What does not apply is no event of the story."""
        if self._verbose:
            super().v2_runner_item_on_skipped(result)

    def v2_runner_on_failed(self, result, ignore_errors=False):
        """Say what failed, once, in the words of the module."""
        if self._verbose:
            return super().v2_runner_on_failed(result, ignore_errors)
        self._chapter(result.task)
        self._line(result.host.get_name(), " FAILED", result.task.get_name().split(" : ", 1)[-1], constants.COLOR_ERROR)
        outcome = result.result
        items = [item for item in outcome.get("results", []) if item.get("failed")] or [outcome]
        for item in items:
            # A program's own output says more than "non-zero return code"; modules say it in their message.
            keys = ("stdout", "stderr") if result.task.action.endswith("command") else ("msg",)
            parts = [str(item.get(key, "")).strip() for key in keys]
            said = "\n".join(dict.fromkeys(part for part in parts if part))
            message = said or str(item.get("msg", "")) or str(item.get("censored", ""))
            self._display.display("\n" + message + "\n", color=constants.COLOR_ERROR)
        return None

    def v2_runner_item_on_failed(self, result):
        """The task's own line says it."""
        if self._verbose:
            super().v2_runner_item_on_failed(result)

    def v2_playbook_on_stats(self, stats):
        """One line a host, as people and scripts expect it, and the time."""
        for host in sorted(stats.processed):
            summary = stats.summarize(host)
            counts = "  ".join(
                f"{key}={summary[key]}" for key in ("ok", "changed", "unreachable", "failures", "rescued")
            )
            bad = summary["failures"] or summary["unreachable"]
            color = (
                constants.COLOR_ERROR if bad else constants.COLOR_CHANGED if summary["changed"] else constants.COLOR_OK
            )
            line = f"{host}: {counts.replace('failures', 'failed')}  in {time.monotonic() - self._began:.0f} s"
            self._display.display(f"\n{line}", color=color)
