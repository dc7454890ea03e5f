#!/usr/bin/python
"""Keep the stack's secrets: generated once, or set by the user."""

from __future__ import annotations

import os
import secrets
import string
import tempfile
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = """
module: stack_secrets
short_description: Keep the stack's secrets, generated once or set by the user
description:
  - Each secret is a file of mode 0600 in a directory of mode 0700. One that is given no value is generated when it is
    missing and never changed afterwards, because the data volumes remember it.
  - Nothing is written unless all values are right, and a file is replaced in one step. A container that runs keeps the
    file that it was given; its label has the digest of its secrets.
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


def write(path: Path, value: str, owner: tuple[int, int] | None) -> None:
    """Replace `path` in one step, never readable by others."""
    # mkstemp makes files of mode 0600.
    fd, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(fd, "w", encoding="utf-8") as file:
            file.write(value)
        if owner:
            os.chown(name, *owner)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink()
        raise


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
    owner = (module.params["owner_uid"], module.params["owner_gid"]) if os.geteuid() == 0 else None
    values, changed = {}, []
    for name, wanted in module.params["secrets"].items():
        if not isinstance(wanted, str):
            module.fail_json(msg=f"{name} is not text; put its value in quotes.")
        try:
            present = (dest / name).read_text(encoding="utf-8")
        except FileNotFoundError:
            present = ""
        except UnicodeDecodeError:
            module.fail_json(msg=f"{dest / name} is not text; delete it, or set {name}.")
        values[name] = wanted or present or "".join(secrets.choice(ALPHABET) for _ in range(LENGTH))
        if values[name] != present:
            changed.append(name)
    if not module.check_mode:
        dest.mkdir(parents=True, exist_ok=True)
        # Containers see single files of it; the directory itself stays with the user who provisions.
        dest.chmod(0o700)
        for name in changed:
            write(dest / name, values[name], owner)
    module.exit_json(changed=bool(changed), kept=values)


if __name__ == "__main__":
    main()
