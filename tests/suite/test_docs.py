"""The commands of the documentation, as they stand there."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.documentation import ROOT, Block, blocks, name_of, pages

# One worker runs them: pages make the same tables.
pytestmark = [pytest.mark.timeout(540), pytest.mark.uses("databases"), pytest.mark.xdist_group("docs")]

# A command that goes on until Ctrl-C is given this long to begin.
_INTERRUPT_SECONDS = 5
_PAGE_SECONDS = 480
# Exit code 1 says that something is not well: other tests break things on purpose.
_PREAMBLE = """\
set -euo pipefail
shopt -s expand_aliases
cdc-workstation() {
    local code=0
    command cdc-workstation "$@" || code=$?
    case $1 in
        status | connectors | dead-letters) [ "$code" -le 1 ] ;;
        *) return "$code" ;;
    esac
}
export -f cdc-workstation
"""


def runnable(page: Path) -> list[Block]:
    """A page's blocks that are to be run, in the order in which they stand there."""
    return [block for block in blocks(page) if block.language in ("sh", "python") and not block.not_run]


# What a new user types first. The other pages cost a minute of CPU, so continuous integration alone runs them.
_FIRST = {"README.md", "docs/quickstart.md"}
_IS_ALL = os.environ.get("DOCS_PAGES") == "all"
PAGES = [
    pytest.param(page, id=name_of(page)) for page in pages() if runnable(page) and (_IS_ALL or name_of(page) in _FIRST)
]


def shell(block: Block, directory: Path) -> str:
    """A block as a shell script; Python and its tests are written to a file for that."""
    if block.language == "python":
        is_test = "\ndef test_" in f"\n{block.code}"
        file = directory / f"test_line_{block.line}.py"
        file.write_text(block.code)
        return shlex.join([sys.executable, *(["-m", "pytest", "-q"] if is_test else []), str(file)])
    if block.until_interrupted:
        # Children of a process that ignores Ctrl-C, as background jobs do, would ignore it, too.
        stopped = f"env --default-signal=INT timeout --signal=INT --kill-after=10 {_INTERRUPT_SECONDS}"
        return f"code=0; {stopped} bash -c {shlex.quote(block.code)} || code=$?; [[ $code = @(0|124|130) ]]"
    return block.code


@pytest.mark.parametrize("page", PAGES)
def test_commands_of_a_page_work(page: Path, tmp_path: Path) -> None:
    lines = [_PREAMBLE]
    for block in runnable(page):
        lines += [f"printf '%s\\n' '=== {block.page}:{block.line}'", shell(block, tmp_path)]
    script = tmp_path / "page.sh"
    script.write_text("\n".join(lines))
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "PYTHON"))}
    run = subprocess.Popen(
        ["bash", script],
        cwd=ROOT,
        env=environment | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = run.communicate(timeout=_PAGE_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(run.pid, signal.SIGKILL)
        output, _ = run.communicate()
    assert run.returncode == 0, output
