#!/usr/bin/python
"""Keep the files of one service equal to what was rendered."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = """
module: service_tree
short_description: Keep the files of one service equal to what was rendered
description:
  - Writes all files of a service in one step, each atomically, and removes what is no longer rendered from the
    directories named in O(prune).
  - With O(validate), files below O(validate_dir) are first written to a staging directory and checked there by the
    service's own program; where it objects nothing at all is changed.
options:
  dest: {type: path, required: true, description: The service's directory.}
  files: {type: dict, required: true, description: Relative path to content.}
  private: {type: list, elements: str, default: [], description: Directories whose files are 0600.}
  owned: {type: list, elements: str, default: [], description: Directories whose files are given to the owner.}
  owner_uid: {type: int, description: User id of the containers; used where this runs as root.}
  owner_gid: {type: int, description: Group id of the containers.}
  prune: {type: list, elements: str, default: [], description: Directories that hold rendered files only.}
  validate: {type: list, elements: str, description: Command; an argument's C(%s) is the staging directory.}
  validate_dir: {type: str, description: The directory that is staged for the check.}
author: cdc-workstation
"""

EXAMPLES = """
- name: Write the files of Alertmanager
  service_tree:
    dest: /home/me/.local/share/cdc-workstation
    files:
      alertmanager/compose.yml: "services: {}"
      alertmanager/config/alertmanager.yml: "route: {receiver: default}"
    prune: [alertmanager/config]
"""

RETURN = """
changed_files:
  description: Paths that were written or removed, relative to O(dest).
  type: list
  elements: str
  returned: always
"""

PUBLIC_DIRECTORY = 0o755


def read(path: Path) -> str | None:
    """Return the text of `path`, or None where there is no such file."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None


def below(name: str, directories: list[str]) -> bool:
    """Tell whether the relative path `name` lies in one of the directories."""
    return any(name.startswith(f"{directory}/") for directory in directories)


def write(path: Path, content: str, mode: int, owner: tuple[int, int] | None) -> None:
    """Replace `path` in one step, never readable by more than `mode` allows."""
    fd, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(fd, "w", encoding="utf-8") as file:
            file.write(content)
        temporary.chmod(mode)
        if owner:
            os.chown(temporary, *owner)
        temporary.replace(path)
    except BaseException:
        temporary.unlink()
        raise


def validate(module: AnsibleModule, files: dict[str, str]) -> None:
    """Check the staged files with the service's own program; fail with its words."""
    prefix = module.params["validate_dir"] + "/"
    with tempfile.TemporaryDirectory(dir=module.tmpdir) as staging:
        # The program runs as another user in a container, which sees this directory and none of those above.
        Path(staging).chmod(PUBLIC_DIRECTORY)
        for name, content in files.items():
            if name.startswith(prefix):
                path = Path(staging, name[len(prefix) :])
                path.parent.mkdir(parents=True, exist_ok=True)
                write(path, content, 0o644, None)
        command = [argument.replace("%s", staging) for argument in module.params["validate"]]
        code, out, err = module.run_command(command)
    if code != 0:
        reason = "\n".join(part.strip() for part in (out, err) if part.strip())
        module.fail_json(
            msg=f"The new configuration was refused and nothing was changed. The service's own check says:\n{reason}",
            rc=code,
        )


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "dest": {"type": "path", "required": True},
            "files": {"type": "dict", "required": True},
            "private": {"type": "list", "elements": "str", "default": []},
            "owned": {"type": "list", "elements": "str", "default": []},
            "owner_uid": {"type": "int"},
            "owner_gid": {"type": "int"},
            "prune": {"type": "list", "elements": "str", "default": []},
            "validate": {"type": "list", "elements": "str"},
            "validate_dir": {"type": "str"},
        },
        required_by={"validate": ["validate_dir"]},
        supports_check_mode=True,
    )
    dest = Path(module.params["dest"])
    files: dict[str, str] = module.params["files"]
    private: list[str] = module.params["private"]
    uid, gid = module.params["owner_uid"], module.params["owner_gid"]
    owner = (uid, gid) if os.geteuid() == 0 and uid is not None and gid is not None else None

    def attributes(name: str) -> tuple[int, tuple[int, int] | None]:
        mode = 0o600 if below(name, private) else 0o644
        return mode, owner if below(name, module.params["owned"]) else None

    def differs(name: str) -> bool:
        path = dest / name
        if read(path) != files[name]:
            return True
        mode, wanted = attributes(name)
        stat = path.stat()
        return stat.st_mode & 0o777 != mode or (wanted is not None and (stat.st_uid, stat.st_gid) != wanted)

    written = sorted(name for name in files if differs(name))
    removed = sorted(
        str(path.relative_to(dest))
        for directory in module.params["prune"]
        for path in (dest / directory).rglob("*")
        if path.is_file() and str(path.relative_to(dest)) not in files
    )
    changed = written + removed
    diff = [
        {"before_header": name, "after_header": name, "before": read(dest / name) or "", "after": files.get(name, "")}
        for name in changed
        if not below(name, private)
    ]
    staged = bool(module.params["validate"]) and any(below(name, [module.params["validate_dir"]]) for name in changed)
    if staged and not module.check_mode:
        validate(module, files)
    if not module.check_mode:
        dest.mkdir(parents=True, exist_ok=True)
        # The mounted directories must exist even when they are empty, or the engine makes them as root.
        for directory in {*module.params["prune"], *private}:
            (dest / directory).mkdir(parents=True, exist_ok=True)
        for name in written:
            path = dest / name
            path.parent.mkdir(parents=True, exist_ok=True)
            mode, wanted = attributes(name)
            write(path, files[name], mode, wanted)
        for name in removed:
            (dest / name).unlink()
        for directory in module.params["prune"]:
            for path in sorted((dest / directory).rglob("*"), reverse=True):
                if path.is_dir() and not any(path.iterdir()):
                    shutil.rmtree(path)
    module.exit_json(changed=bool(changed), changed_files=changed, diff=diff)


if __name__ == "__main__":
    main()
