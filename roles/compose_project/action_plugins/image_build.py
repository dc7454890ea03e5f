"""Show which step of an image build runs, and for how long, while the module of the same name builds."""

from __future__ import annotations

import re
import threading
import time
from pathlib import Path

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

# `#7 [build 2/4] RUN go install ...`, as BuildKit's plain progress prints a step when it starts.
STEP = re.compile(r"^#\d+ (\[[^\]]*\d+/\d+\] .*)$")
# What a reader does not need of a RUN line: its mounts.
MOUNT = re.compile(r"--mount=\S+\s*")
POLL_SECONDS = 1.0
HEARTBEAT_SECONDS = 20.0
WIDTH = 100

display = Display()


class ActionModule(ActionBase):
    """The action `image_build`."""

    def run(self, tmp=None, task_vars=None):
        """Build the image; print a line when a step starts and a heartbeat while one goes on."""
        result = super().run(tmp, task_vars)
        name = str(self._task.args["name"]).rsplit("/", 1)[-1].rsplit("-", 1)[0]
        log = Path(str(self._task.args["log"]))
        # The log can be read here only where target and controller are one machine; elsewhere the time still shows.
        local = self._connection.transport == "local"
        if local:
            log.unlink(missing_ok=True)
        done = threading.Event()
        reporter = threading.Thread(target=self._report, args=(name, log if local else None, done), daemon=True)
        reporter.start()
        try:
            result.update(self._execute_module(module_name="image_build", task_vars=task_vars))
        finally:
            done.set()
            reporter.join()
        return result

    @staticmethod
    def _report(name: str, log: Path | None, done: threading.Event) -> None:
        started = shown_at = time.monotonic()
        step, shown = "preparing the build context", None
        while not done.wait(POLL_SECONDS):
            if log is not None and log.exists():
                steps = [m[1] for line in log.read_text(errors="replace").splitlines() if (m := STEP.match(line))]
                # Stages that only fetch the base image are noise.
                steps = [text for text in steps if not text.startswith("[internal]")]
                step = steps[-1] if steps else step
            now = time.monotonic()
            if step != shown or now - shown_at >= HEARTBEAT_SECONDS:
                display.display(f"  {name}  {now - started:4.0f} s  {MOUNT.sub('', step)[:WIDTH]}", color="bright gray")
                shown, shown_at = step, now
