#!/usr/bin/python
"""Write the secrets of the stack."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = """
module: stack_secrets
short_description: Write the secrets of the stack
description:
  - Each secret is a file of mode 0600 in a directory of mode 0700. Nothing is written unless all values are right, and
    a file is replaced in one step. A container that runs keeps the file that it was given; its label has the digest.
  - M(ansible.builtin.copy) would write one a task, and show its difference.
options:
  dest: {type: path, required: true, description: The directory of the secrets.}
  secrets: {type: dict, required: true, description: Name to value.}
  owner_uid: {type: int, required: true, description: User id of the containers, the files' owner under root.}
  owner_gid: {type: int, required: true, description: Group id of the containers.}
author: cdc-workstation
"""

EXAMPLES = """
- name: Keep the password of the application's user
  stack_secrets:
    dest: /home/me/.local/share/cdc-workstation/secrets
    secrets: {mysql_password: "{{ vault_mysql_password }}"}
    owner_uid: 1000
    owner_gid: 1000
"""

RETURN = ""


def write(path: Path, value: str, owner: tuple[int, int] | None) -> None:
    """Replace `path` in one step, never readable by others."""
    # mkstemp makes files of mode 0600.
    fd, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(fd, "w", encoding="utf-8") as file:
            file.write(value)
        if owner:
            os.chown(name, *owner)
        if path.is_dir():
            # The engine makes a directory where a file that it is to mount is missing.
            path.rmdir()
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink()
        raise


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "dest": {"type": "path", "required": True},
            "secrets": {"type": "dict", "required": True, "no_log": True},
            "owner_uid": {"type": "int", "required": True},
            "owner_gid": {"type": "int", "required": True},
        },
        supports_check_mode=True,
    )
    dest = Path(module.params["dest"])
    owner = (module.params["owner_uid"], module.params["owner_gid"]) if os.geteuid() == 0 else None
    changed = {}
    for name, value in module.params["secrets"].items():
        path = dest / name
        if not isinstance(value, str) or not value:
            module.fail_json(msg=f"{name} is empty or not text; put its value in quotes.")
        if not path.is_file() or path.read_bytes() != value.encode():
            changed[name] = value
    if not module.check_mode:
        dest.mkdir(parents=True, exist_ok=True)
        # Containers see single files of it; the directory itself stays with the user who provisions.
        dest.chmod(0o700)
        for name, value in changed.items():
            write(dest / name, value, owner)
    module.exit_json(changed=bool(changed))


if __name__ == "__main__":
    main()
