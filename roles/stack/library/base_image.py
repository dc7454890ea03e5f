#!/usr/bin/python
"""Bootstrap a Debian base image from packages and import it into the engine."""

from __future__ import annotations

import shlex
import subprocess

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = """
module: base_image
short_description: Bootstrap a Debian base image from packages and import it into the engine
description:
  - Runs C(mmdebstrap) and pipes its archive into C(docker import), so that no image hub is needed.
options:
  name: {type: str, required: true, description: The image's reference.}
  suite: {type: str, required: true, description: The Debian suite.}
  recipe: {type: str, required: true, description: Arguments of mmdebstrap.}
  mirror: {type: str, default: "", description: Debian mirror; empty is the default of mmdebstrap.}
author: cdc-workstation
"""

EXAMPLES = """
- name: Bootstrap trixie
  base_image: {name: "cdc-workstation/base:trixie-0123456789ab", suite: trixie, recipe: --variant=minbase}
"""

RETURN = """
name:
  description: The image's reference.
  type: str
  returned: always
"""


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "suite": {"type": "str", "required": True},
            "recipe": {"type": "str", "required": True},
            "mirror": {"type": "str", "default": ""},
        },
        supports_check_mode=True,
    )
    name = module.params["name"]
    if module.check_mode:
        module.exit_json(changed=True, name=name)
    bootstrap = [
        "mmdebstrap",
        *shlex.split(module.params["recipe"]),
        module.params["suite"],
        "-",
        *filter(None, [module.params["mirror"]]),
    ]
    with (
        subprocess.Popen(bootstrap, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as source,
        subprocess.Popen(
            ["docker", "import", "-", name],
            stdin=source.stdout,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        ) as sink,
    ):
        assert source.stdout is not None
        assert source.stderr is not None
        assert sink.stderr is not None
        source.stdout.close()
        progress = source.stderr.read().decode(errors="replace")
        refusal = sink.stderr.read().decode(errors="replace")
    if source.returncode != 0:
        # A cut-off archive may still have been imported: it must not be taken for the base image.
        module.run_command(["docker", "image", "rm", "--force", name])
        tail = "\n".join(progress.splitlines()[-15:])
        module.fail_json(msg=f"Debian {module.params['suite']} could not be bootstrapped. mmdebstrap says:\n{tail}")
    if sink.returncode != 0:
        module.fail_json(msg=f"The engine did not take the base image: {refusal}")
    module.exit_json(changed=True, name=name)


if __name__ == "__main__":
    main()
