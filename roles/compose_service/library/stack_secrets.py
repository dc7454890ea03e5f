#!/usr/bin/python
"""Keep the stack's secrets: generated once, or set by the user."""

from __future__ import annotations

import os
import secrets
import string
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = """
module: stack_secrets
short_description: Keep the stack's secrets, generated once or set by the user
description:
  - Each secret is a file of mode 0600 in a directory of mode 0700. One that is given no value is generated when it is
    missing and never changed afterwards, because the data volumes remember it.
options:
  dest: {type: path, required: true, description: The directory of the secrets.}
  secrets: {type: dict, required: true, description: Name to value; an empty value is generated.}
  owner_uid: {type: int, required: true, description: User id of the containers, the files' owner under root.}
  owner_gid: {type: int, required: true, description: Group id of the containers.}
author: cdc-workstation
"""

EXAMPLES = """
- name: Keep the password of the application's user
  stack_secrets:
    dest: /home/me/.local/share/cdc-workstation/secrets
    secrets: {mysql_password: ""}
    owner_uid: 1000
    owner_gid: 1000
  no_log: true
"""

RETURN = """
kept:
  description: Name to value of every secret that was asked for.
  type: dict
  returned: always
"""

ALPHABET = string.ascii_letters + string.digits
LENGTH = 32


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "dest": {"type": "path", "required": True},
            # The task hides it: marked here, its values would be masked in the result too.
            "secrets": {"type": "dict", "required": True, "no_log": False},
            "owner_uid": {"type": "int", "required": True},
            "owner_gid": {"type": "int", "required": True},
        },
        supports_check_mode=True,
    )
    dest = Path(module.params["dest"])
    changed = False
    values = {}
    if not module.check_mode:
        dest.mkdir(parents=True, exist_ok=True, mode=0o700)
        # Containers see single files of it; the directory itself stays with the user who provisions.
        dest.chmod(0o700)
    for name, wanted in module.params["secrets"].items():
        path = dest / name
        present = path.read_text(encoding="utf-8") if path.exists() else None
        value = wanted or present or "".join(secrets.choice(ALPHABET) for _ in range(LENGTH))
        values[name] = value
        if value == present:
            continue
        changed = True
        if module.check_mode:
            continue
        # Written in place where it exists: a bind mount keeps the file that it was given.
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(fd, "w", encoding="utf-8") as file:
            file.write(value)
        path.chmod(0o600)
        if os.geteuid() == 0:
            os.chown(path, module.params["owner_uid"], module.params["owner_gid"])
    module.exit_json(changed=changed, kept=values)


if __name__ == "__main__":
    main()
