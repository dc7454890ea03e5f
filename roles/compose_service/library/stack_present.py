#!/usr/bin/python
"""Say which secrets and images the machine has, before roles declare their services."""

from __future__ import annotations

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = """
module: stack_present
short_description: Say which secrets and images the machine has, before roles declare their services
description:
  - One question in place of one a service. No community module reads a directory of files in one call.
options:
  stack_dir: {type: path, required: true, description: The stack's directory.}
author: cdc-workstation
"""

EXAMPLES = """
- name: Look what the machine has
  stack_present: {stack_dir: /home/me/.local/share/cdc-workstation}
  no_log: true
"""

RETURN = """
ansible_facts:
  description: The fact C(cdc_machine) with C(secrets), name to value, and C(images) as C(repository:tag).
  type: dict
  returned: always
"""


def is_text(file: Path) -> bool:
    """Tell whether a file holds UTF-8."""
    try:
        file.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return False
    return True


def main() -> None:
    """Run the module."""
    module = AnsibleModule(argument_spec={"stack_dir": {"type": "path", "required": True}}, supports_check_mode=True)
    directory = Path(module.params["stack_dir"], "secrets")
    files = sorted(directory.iterdir()) if directory.is_dir() else []
    listing = ["docker", "image", "ls", "--format", "{{.Repository}}:{{.Tag}}"]
    # In check mode there may be no engine yet; nothing is built then.
    _, images, _ = module.run_command(listing, check_rc=not module.check_mode)
    # A name with a dot in front is a file that is being written.
    secrets = {
        file.name: file.read_text(encoding="utf-8")
        for file in files
        # What is not text is replaced; the engine makes a directory where a file that it is to mount is missing.
        if file.is_file() and not file.name.startswith(".") and is_text(file)
    }
    machine = {"secrets": secrets, "images": images.splitlines()}
    module.exit_json(changed=False, ansible_facts={"cdc_machine": machine})


if __name__ == "__main__":
    main()
