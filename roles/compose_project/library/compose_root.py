#!/usr/bin/python
"""Write the root compose project and connection.env from the fragments of the services."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = """
module: compose_root
short_description: Write the root compose project and connection.env from the fragments of the services
options:
  dest: {type: path, required: true, description: The stack's directory.}
  project: {type: str, required: true, description: The compose project's name.}
  subnet: {type: str, required: true, description: The network's range.}
  gateway: {type: str, required: true, description: The network's first address, where the host is found.}
  services: {type: list, elements: str, description: The only services to keep; left out, all that there are.}
  header: {type: str, required: true, description: The header of managed files.}
author: cdc-workstation
"""

EXAMPLES = """
- name: Write the project's root
  compose_root:
    dest: /home/me/.local/share/cdc-workstation
    project: cdc-workstation
    subnet: 172.30.57.0/24
    gateway: 172.30.57.1
    header: "# Ansible managed"
"""

RETURN = """
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


def replace(path: Path, content: str, mode: int, check_mode: bool) -> bool:
    """Write `content` in one step where it differs; tell whether it did."""
    if path.exists() and path.read_text(encoding="utf-8") == content and path.stat().st_mode & 0o777 == mode:
        return False
    if not check_mode:
        temporary = path.with_name(f".{path.name}.new")
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
        with os.fdopen(fd, "w", encoding="utf-8") as file:
            file.write(content)
        temporary.chmod(mode)
        temporary.replace(path)
    return True


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "dest": {"type": "path", "required": True},
            "project": {"type": "str", "required": True},
            "subnet": {"type": "str", "required": True},
            "gateway": {"type": "str", "required": True},
            "services": {"type": "list", "elements": "str"},
            "header": {"type": "str", "required": True},
        },
        supports_check_mode=True,
    )
    params, dest = module.params, Path(module.params["dest"])
    present = sorted(path.parent.name for path in dest.glob("[!.]*/compose.yml"))
    keep = present if params["services"] is None else [name for name in present if name in params["services"]]
    removed = [name for name in present if name not in keep]
    if not module.check_mode:
        for name in removed:
            shutil.rmtree(dest / name)
            for leftover in (dest / "targets" / f"{name}.json", dest / "connection.d" / f"{name}.env"):
                leftover.unlink(missing_ok=True)
    root = ROOT.format(
        header=params["header"],
        project=params["project"],
        subnet=params["subnet"],
        gateway=params["gateway"],
        includes="\n".join(f"  - {name}/compose.yml" for name in keep),
    )
    lines = [f"COMPOSE_PROJECT_NAME={params['project']}"]
    for path in sorted((dest / "connection.d").glob("*.env")):
        lines += path.read_text(encoding="utf-8").splitlines() if path.stem in keep else []
    # Two services may name the same thing.
    connection = "\n".join([params["header"], *dict.fromkeys(lines), ""])
    changed = [
        replace(dest / "compose.yml", root, 0o644, module.check_mode),
        replace(dest / "connection.env", connection, 0o600, module.check_mode),
    ]
    if not module.check_mode and dest.stat().st_mode & 0o777 != 0o700:
        dest.chmod(0o700)
        changed.append(True)
    module.exit_json(changed=any(changed) or bool(removed), services=keep)


if __name__ == "__main__":
    main()
