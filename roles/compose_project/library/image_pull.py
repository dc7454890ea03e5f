#!/usr/bin/python
"""Pull one image from the team's registry, under the name that the stack runs it by."""

from __future__ import annotations

import re

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = """
module: image_pull
short_description: Pull one image from the team's registry, under the name that the stack runs it by
description:
  - The image is found under its own name and tag below O(registry). That it is not there is no failure.
  - M(community.docker.docker_image_pull) fails if the registry has no such image, in words that it does not tell apart
    from those of a registry that cannot be reached; the one is built, the other is an error.
options:
  name: {type: str, required: true, description: "The image's reference in the stack, with its tag."}
  registry: {type: str, required: true, description: "The registry with the path, as C(host:port/path)."}
author: cdc-workstation
"""

EXAMPLES = """
- name: Pull the image of Alertmanager
  image_pull: {name: "cdc-workstation/alertmanager:0.31.1-0123456789ab", registry: "localhost:5000/team"}
"""

RETURN = """
found:
  description: Whether the registry has the image.
  type: bool
  returned: always
"""

# What registries say of a name or a tag that they do not have (OCI distribution: MANIFEST_UNKNOWN, NAME_UNKNOWN).
UNKNOWN = re.compile(r"manifest unknown|name unknown|not found|repository .* does not exist", re.IGNORECASE)


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "registry": {"type": "str", "required": True},
        },
        supports_check_mode=True,
    )
    name = module.params["name"]
    there = f"{module.params['registry'].rstrip('/')}/{name.rsplit('/', 1)[-1]}"
    if module.check_mode:
        module.exit_json(changed=True, found=True)
    code, out, err = module.run_command(["docker", "image", "pull", "--quiet", there])
    if code != 0:
        said = err.strip() or out.strip()
        if UNKNOWN.search(said):
            module.exit_json(changed=False, found=False)
        module.fail_json(msg=f"{there} could not be pulled: {said}\nMend the registry, or empty stack_registry.")
    # With `registry/team` as the stack's own prefix, they are one name.
    if there != name:
        module.run_command(["docker", "image", "tag", there, name], check_rc=True)
        module.run_command(["docker", "image", "rm", "--no-prune", there], check_rc=True)
    module.exit_json(changed=True, found=True)


if __name__ == "__main__":
    main()
