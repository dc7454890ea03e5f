"""Runs the sink, and kills it right before or after one of its steps: `dying_sink.py MOMENT STEP FILE`.

The step counts once FILE exists, so that the sink can become ready before. Steps are named as in `STEPS`.
"""

from __future__ import annotations

import functools
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cdc_workstation.sink import applier, delta_files
from cdc_workstation.sink.__main__ import main
from cdc_workstation.sink.applier import Applier
from cdc_workstation.sink.dead_letters import DeadLetters
from cdc_workstation.sink.delta_files import TableFiles
from cdc_workstation.sink.delta_rs import DeltaRsWriter
from cdc_workstation.sink.reader import Reader
from cdc_workstation.sink.sequencer import Sequencer
from cdc_workstation.sink.topics import Topics

STEPS: dict[str, tuple[type, str]] = {
    "read records": (Reader, "read"),
    "apply records": (Applier, "apply"),
    "write dead letters": (DeadLetters, "write"),
    "create a table": (DeltaRsWriter, "create"),
    "add a column": (DeltaRsWriter, "evolve"),
    "append rows": (DeltaRsWriter, "append"),
    "upsert rows": (DeltaRsWriter, "upsert"),
    "delete rows": (DeltaRsWriter, "delete_older"),
    "take note of a commit": (Sequencer, "committed"),
    "record offsets": (DeltaRsWriter, "record"),
    "compact files": (TableFiles, "maintain"),
    "tell progress": (Topics, "tell_progress"),
}
"""Name to what carries it out."""


def die_at(moment: str, owner: type, name: str, armed: Path) -> None:
    """Have the process killed before or after a method's first call that does something."""
    method: Callable[..., Any] = getattr(owner, name)

    @functools.wraps(method)
    def dying(*arguments: Any, **options: Any) -> Any:
        if moment == "before" and armed.exists():
            os.kill(os.getpid(), signal.SIGKILL)
        result = method(*arguments, **options)
        # Nothing was read, written or told.
        if armed.exists() and not (isinstance(result, int | dict) and not result):
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, name, dying)


if __name__ == "__main__":
    # Rare steps come at once.
    applier._IDLE_SECONDS = 0.2
    delta_files._COMMITS = 2
    die_at(sys.argv[1], *STEPS[sys.argv[2]], Path(sys.argv[3]))
    sys.exit(main())
