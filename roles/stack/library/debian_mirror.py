#!/usr/bin/python
"""Find the Debian mirror that the host's apt uses."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = """
module: debian_mirror
short_description: Find the Debian mirror that the host's apt uses
description:
  - Where apt has no lists (a host that was just installed, or whose lists were cleaned away), it fetches them first.
author: cdc-workstation
"""

EXAMPLES = """
- name: Ask apt for its mirror
  debian_mirror:
  become: true
"""

RETURN = """
mirror: {description: Its URL; empty where apt uses none for Debian., type: str, returned: always}
"""


def mirror(module: AnsibleModule) -> str:
    """Return the first mirror of Debian's main archive in apt's lists."""
    fields = "$(REPO_URI)|$(ORIGIN)|$(COMPONENT)|$(SUITE)"
    code, out, _ = module.run_command(["apt-get", "indextargets", "--format", fields, "Created-By: Packages"])
    for line in out.splitlines() if code == 0 else []:
        uri, origin, component, suite = line.split("|")
        if origin == "Debian" and component == "main" and "-" not in suite and uri.startswith("http"):
            return uri
    return ""


def main() -> None:
    """Run the module."""
    module = AnsibleModule(argument_spec={}, supports_check_mode=True)
    found = mirror(module)
    if not found and not module.check_mode:
        code, out, err = module.run_command(["apt-get", "--quiet", "update"])
        if code != 0:
            module.fail_json(msg=f"apt cannot fetch its lists: {err.strip() or out.strip()}")
        found = mirror(module)
    module.exit_json(changed=False, mirror=found)


if __name__ == "__main__":
    main()
