"""Hold the lock of one stack until this run of Ansible ends, however it ends."""

from __future__ import annotations

import fcntl
import getpass
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from ansible.plugins.action import ActionBase

SHARED = Path("/run/lock")
# Keeps the descriptor, and with it the lock, until the process whose number it is given ends (pidfd_open(2)).
HOLDER = (
    "import os, select, sys; p = select.poll(); p.register(os.pidfd_open(int(sys.argv[1])), select.POLLIN); p.poll()"
)


def take(path: Path, run: int) -> str:
    """Take the lock for the process `run`; return who has it instead, empty where it was taken."""
    # Another user's file may be opened, and no other way: see fs.protected_regular in proc(5).
    flags = os.O_RDWR if os.access(path, os.W_OK) else os.O_RDONLY if path.exists() else os.O_RDWR | os.O_CREAT
    file = os.open(path, flags | os.O_NOFOLLOW, 0o644)
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(file, 200).decode(errors="replace").strip()
            return "" if holder.startswith(f"process {run} ") else holder or "another process"
        if flags & os.O_RDWR:
            os.ftruncate(file, 0)
            os.write(file, f"process {run} of {getpass.getuser()} since {time.strftime('%H:%M:%S')}\n".encode())
        # In a session of its own: what ends the run from the terminal must not end this before it.
        subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(run)],
            pass_fds=[file],
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
    finally:
        os.close(file)
    return ""


class ActionModule(ActionBase):
    """The action `stack_lock`."""

    _VALID_ARGS = frozenset(("project",))
    _requires_connection = False

    def run(self, tmp=None, task_vars=None):
        """Fail with a sentence where another run is at work on the stack of this host."""
        result = super().run(tmp, task_vars) | {"changed": False}
        if self._task.check_mode:
            return result
        project, host = self._task.args["project"], task_vars["inventory_hostname"]
        directory = SHARED if os.access(SHARED, os.W_OK) else Path(tempfile.gettempdir())
        name = re.sub(r"[^\w.-]", "_", f"cdc-workstation-{host}-{project}.lock")
        # A task runs in a child of ansible-playbook, which ends with the task.
        holder = take(directory / name, os.getppid())
        if holder:
            where = "" if host == "localhost" else f" on {host}"
            result["failed"] = True
            result["msg"] = (
                f"Nothing was changed. Another run is at work on the stack {project}{where} ({holder}): wait for its "
                "end, or stop it with Ctrl-C where it was started."
            )
        return result
