#!/usr/bin/python
"""Keep the files of the stack equal to what its roles declared."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = """
module: stack_files
short_description: Keep the files of the stack equal to what its roles declared
description:
  - Writes the files of all services in one step, each atomically, removes what is no longer rendered, and writes the
    root over all services that there are, C(compose.yml) and C(connection.env).
  - Changed configuration is first written to a staging directory and checked there by the service's own program; where
    one objects nothing at all is changed.
  - M(ansible.builtin.copy) and M(ansible.builtin.template) write one file a task, and none knows what to remove.
options:
  dest: {type: path, required: true, description: The stack's directory.}
  public: {type: dict, required: true, description: Relative path to content of files that others may read.}
  owned: {type: dict, required: true, description: The same of files for the containers' user alone.}
  private: {type: dict, required: true, description: The same of files for the user alone who provisions.}
  prune: {type: list, elements: str, default: [], description: Directories that hold rendered files only.}
  checks: {type: dict, default: {}, description: Directory of configuration to the command that checks it (C(%s)).}
  owner_uid: {type: int, required: true, description: User id of the containers; used where this runs as root.}
  owner_gid: {type: int, required: true, description: Group id of the containers.}
  project: {type: str, required: true, description: The compose project's name.}
  subnet: {type: str, required: true, description: The network's range.}
  gateway: {type: str, required: true, description: The network's first address, where the host is found.}
  services: {type: list, elements: str, description: The only services to keep; left out, all that there are.}
  header: {type: str, required: true, description: The header of managed files.}
author: cdc-workstation
"""

EXAMPLES = """
- name: Write the files of Alertmanager
  stack_files:
    dest: /home/me/.local/share/cdc-workstation
    public:
      alertmanager/compose.yml: "services: {}"
      alertmanager/config/alertmanager.yml: "route: {receiver: default}"
    owned: {}
    private: {connection.d/alertmanager.env: ""}
    prune: [alertmanager/config]
    owner_uid: 1000
    owner_gid: 1000
    project: cdc-workstation
    subnet: 172.30.57.0/24
    gateway: 172.30.57.1
    header: "# Ansible managed"
"""

RETURN = """
changed_files:
  description: Paths that were written or removed, relative to O(dest).
  type: list
  elements: str
  returned: always
deployed:
  description: Whether there is a project to start, which in check mode there may not be.
  type: bool
  returned: always
saved:
  description: Whether these are the files of the last good state (module C(last_good)).
  type: bool
  returned: always
services:
  description: The services of the project.
  type: list
  elements: str
  returned: always
"""

ROOT = """{header}

name: {project}

include:
{includes}

networks:
  default:
    ipam:
      config:
        - subnet: {subnet}
          gateway: {gateway}
"""
PUBLIC_DIRECTORY = 0o755


class File:
    """A file as it should be: content, mode, and the owner where this runs as root."""

    def __init__(self, content: str, mode: int, owner: tuple[int, int] | None = None) -> None:
        self.content, self.mode, self.owner = content, mode, owner

    def differs(self, path: Path) -> bool:
        """Tell whether the file at `path` is another one."""
        if read(path) != self.content or path.is_dir():
            return True
        stat = path.stat()
        owned = self.owner is None or (stat.st_uid, stat.st_gid) == self.owner
        return stat.st_mode & 0o777 != self.mode or not owned

    def write(self, path: Path) -> None:
        """Replace `path` in one step, never readable by more than the mode allows."""
        fd, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        temporary = Path(name)
        try:
            with os.fdopen(fd, "w", encoding="utf-8") as file:
                file.write(self.content)
            temporary.chmod(self.mode)
            if self.owner:
                os.chown(temporary, *self.owner)
            if path.is_dir():
                # The engine makes a directory where a file that it is to mount is missing.
                path.rmdir()
            temporary.replace(path)
        except BaseException:
            temporary.unlink()
            raise


def make_directory(root: Path, name: str) -> None:
    """Make a directory below `root` that containers can read, whatever the umask; repair one that they cannot."""
    path = root
    for part in Path(name).parts:
        path /= part
        path.mkdir(exist_ok=True)
        mode = path.stat().st_mode & 0o7777
        if mode & PUBLIC_DIRECTORY != PUBLIC_DIRECTORY:
            path.chmod(mode | PUBLIC_DIRECTORY)


def read(path: Path) -> str | None:
    """Return the text of `path`, or None where there is no such file. Bytes that are not UTF-8 equal no text."""
    try:
        return path.read_bytes().decode(errors="surrogateescape")
    except (FileNotFoundError, IsADirectoryError):
        return None


def as_text(content: str | None) -> str:
    """Return what can be printed of a file's content: bytes that are not UTF-8 become question marks."""
    return (content or "").encode(errors="replace").decode()


def declared(params: dict) -> dict[str, File]:
    """Return relative path to file of everything that roles declared."""
    owner = (params["owner_uid"], params["owner_gid"]) if os.geteuid() == 0 else None
    return {
        **{name: File(content, 0o644) for name, content in params["public"].items()},
        **{name: File(content, 0o600, owner) for name, content in params["owned"].items()},
        **{name: File(content, 0o600) for name, content in params["private"].items()},
    }


def root(params: dict, services: list[str], connection: dict[str, str]) -> dict[str, File]:
    """Return the files over all services; `connection` has the lines of each of them."""
    compose = ROOT.format(**params, includes="\n".join(f"  - {name}/compose.yml" for name in services))
    lines = [f"COMPOSE_PROJECT_NAME={params['project']}"]
    for name in services:
        lines += connection.get(name, "").splitlines()
    # Two services may name the same thing.
    environment = "\n".join([params["header"], *dict.fromkeys(lines), ""])
    return {"compose.yml": File(compose, 0o644), "connection.env": File(environment, 0o600)}


def validate(module: AnsibleModule, directory: str, command: list[str], files: dict[str, File]) -> None:
    """Check the staged files of a directory with the service's own program; fail with its words."""
    with tempfile.TemporaryDirectory(dir=module.tmpdir) as staging:
        # The program runs as another user in a container, which sees this directory and none of those above.
        Path(staging).chmod(PUBLIC_DIRECTORY)
        for name, file in files.items():
            if name.startswith(f"{directory}/"):
                inside = Path(name[len(directory) + 1 :])
                make_directory(Path(staging), str(inside.parent))
                File(file.content, 0o644).write(staging / inside)
        code, out, err = module.run_command([argument.replace("%s", staging) for argument in command])
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
            "public": {"type": "dict", "required": True},
            "owned": {"type": "dict", "required": True, "no_log": True},
            "private": {"type": "dict", "required": True, "no_log": True},
            "prune": {"type": "list", "elements": "str", "default": []},
            "checks": {"type": "dict", "default": {}},
            "owner_uid": {"type": "int", "required": True},
            "owner_gid": {"type": "int", "required": True},
            "project": {"type": "str", "required": True},
            "subnet": {"type": "str", "required": True},
            "gateway": {"type": "str", "required": True},
            "services": {"type": "list", "elements": "str"},
            "header": {"type": "str", "required": True},
        },
        supports_check_mode=True,
    )
    params, dest = module.params, Path(module.params["dest"])
    files = declared(params)

    present = {path.parent.name for path in dest.glob("[!.]*/compose.yml")}
    present |= {name.partition("/")[0] for name in files if name.endswith("/compose.yml")}
    services = sorted(present if params["services"] is None else present & set(params["services"]))
    left = sorted(present - set(services))
    lines = {path.stem: as_text(read(path)) for path in (dest / "connection.d").glob("[!.]*.env")}
    lines |= {Path(name).stem: file.content for name, file in files.items() if name.startswith("connection.d/")}
    files |= root(params, services, lines)

    good = dest / ".last-good"
    saved = services == sorted(path.parent.name for path in good.glob("*/compose.yml"))
    saved = saved and all(read(good / name) == file.content for name, file in files.items())
    written = sorted(name for name, file in files.items() if file.differs(dest / name))
    removed = sorted(
        str(path.relative_to(dest))
        for directory in params["prune"]
        for path in (dest / directory).rglob("*")
        if path.is_file() and str(path.relative_to(dest)) not in files
    )
    shared = [name for one in left for name in (f"targets/{one}.json", f"connection.d/{one}.env")]
    removed += [name for name in shared if (dest / name).exists()]
    changed = written + removed
    if not module.check_mode:
        for directory, command in params["checks"].items():
            if any(name.startswith(f"{directory}/") for name in changed):
                validate(module, directory, command, files)
    diff = [
        {
            "before_header": name,
            "after_header": name,
            "before": as_text(read(dest / name)),
            "after": files[name].content if name in files else "",
        }
        for name in changed
        if files.get(name, File("", 0)).mode != 0o600 and not name.startswith("connection.d/")
    ]
    if not module.check_mode:
        # The stack's directory is the user's alone.
        dest.mkdir(parents=True, exist_ok=True)
        dest.chmod(0o700)
        # The mounted directories must exist even when they are empty, or the engine makes them as root.
        for directory in {str(Path(name).parent) for name in files} | set(params["prune"]):
            make_directory(dest, directory)
        for name in written:
            files[name].write(dest / name)
        for name in removed:
            (dest / name).unlink()
        for directory in params["prune"]:
            for path in sorted((dest / directory).rglob("*"), reverse=True):
                if path.is_dir() and not any(path.iterdir()):
                    path.rmdir()
        for name in left:
            shutil.rmtree(dest / name)
    module.exit_json(
        changed=bool(changed or left),
        changed_files=changed,
        deployed=(dest / "compose.yml").exists(),
        saved=saved,
        services=services,
        diff=diff,
    )


if __name__ == "__main__":
    main()
