#!/usr/bin/python
"""Keep a copy of the files and secrets with which all services were healthy, and bring it back."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = """
module: last_good
short_description: Keep a copy of the files and secrets with which all services were healthy, and bring it back
description:
  - Secrets that have come since stay, because the data volume of a new service may have been made with one.
  - Saving a state that is saved already changes nothing.
  - M(ansible.builtin.copy) copies a directory, and neither removes what the copy has more of nor leaves secrets out.
options:
  stack_dir: {type: path, required: true, description: The stack's directory.}
  state: {type: str, required: true, choices: [saved, restored], description: What to do.}
author: cdc-workstation
"""

EXAMPLES = """
- name: Remember this state as the last good one
  last_good: {stack_dir: /home/me/.local/share/cdc-workstation, state: saved}
"""

RETURN = """
found:
  description: Whether there was a state to restore.
  type: bool
  returned: always
"""

COPY = ".last-good"
# Directories in which each service has a file.
SHARED = ("connection.d", "targets")
# Directories of which nothing is removed: what services were given.
KEPT = ("secrets",)
# What is rendered of a service: its directory may also hold what was derived from its image.
RENDERED = ("config", "private", "etc", "host-conf")


def attributes(path: Path) -> tuple[int, int, int]:
    """Return mode and owner of a file."""
    stat = path.stat()
    return stat.st_mode, stat.st_uid, stat.st_gid


def copy(source: Path, dest: Path) -> None:
    """Replace `dest` in one step by a file with the content, mode and owner of `source`.

    One that is the same stays: a container that has it need not be told, and one whose file is new must.
    """
    if dest.is_file() and attributes(dest) == attributes(source) and dest.read_bytes() == source.read_bytes():
        return
    fd, name = tempfile.mkstemp(dir=dest.parent, prefix=f".{dest.name}.")
    os.close(fd)
    try:
        shutil.copy2(source, name)
        shutil.chown(name, source.stat().st_uid, source.stat().st_gid)
        Path(name).replace(dest)
    except BaseException:
        Path(name).unlink()
        raise


def make_directory(path: Path) -> None:
    """Make a directory that containers can read, whatever the umask; one that is there stays as it is."""
    if not path.is_dir():
        path.mkdir()
        path.chmod(0o755)


def contents(directory: Path) -> dict[Path, tuple[bytes, int]]:
    """Return the path of each file below `directory` with what it holds and its mode."""
    return {
        path.relative_to(directory): (path.read_bytes(), path.stat().st_mode)
        for path in directory.rglob("*")
        if path.is_file()
    }


def restore(source: Path, dest: Path) -> None:
    """Make `dest` equal to `source`; directories that containers mount stay the same directories."""
    for path in sorted(source.rglob("*")):
        target = dest / path.relative_to(source)
        if path.is_dir():
            make_directory(target)
        else:
            copy(path, target)
    for path in sorted(dest.rglob("*"), reverse=True):
        if not (source / path.relative_to(dest)).exists():
            path.rmdir() if path.is_dir() else path.unlink()


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "stack_dir": {"type": "path", "required": True},
            "state": {"type": "str", "required": True, "choices": ["saved", "restored"]},
        },
        supports_check_mode=True,
    )
    stack = Path(module.params["stack_dir"])
    good = stack / COPY
    found = good.is_dir()
    parts = [path for path in ("compose.yml", "connection.env", *KEPT, *SHARED) if (stack / path).exists()]
    if module.check_mode:
        module.exit_json(changed=True, found=found)
    if module.params["state"] == "saved":
        new = stack / f"{COPY}.new"
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(mode=0o700)
        for name in parts + [path.parent.name for path in stack.glob("[!.]*/compose.yml")]:
            target = new / name
            if (stack / name).is_dir():
                for part in ("", *RENDERED):
                    for path in (stack / name / part).rglob("*") if part else (stack / name).glob("*"):
                        if path.is_file():
                            destination = new / path.relative_to(stack)
                            destination.parent.mkdir(parents=True, exist_ok=True)
                            copy(path, destination)
            else:
                shutil.copy2(stack / name, target)
        if contents(new) == contents(good):
            shutil.rmtree(new)
            module.exit_json(changed=False, found=found)
        shutil.rmtree(good, ignore_errors=True)
        new.rename(good)
    elif found:
        for path in good.iterdir():
            if path.is_file():
                copy(path, stack / path.name)
                continue
            make_directory(stack / path.name)
            for part in RENDERED:
                if (path / part).is_dir():
                    make_directory(stack / path.name / part)
                    restore(path / part, stack / path.name / part)
            for file in path.glob("*"):
                if file.is_file():
                    copy(file, stack / path.name / file.name)
        for name in SHARED:
            for file in (stack / name).glob("*"):
                if file.is_file() and not (good / name / file.name).exists():
                    file.unlink()
        # A service that was not there in the last good state must not be started with it.
        for fragment in stack.glob("[!.]*/compose.yml"):
            if not (good / fragment.parent.name).exists():
                shutil.rmtree(fragment.parent)
    module.exit_json(changed=True, found=found)


if __name__ == "__main__":
    main()
