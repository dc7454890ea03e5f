#!/usr/bin/python
"""Build one image with BuildKit, its progress in a log file."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = """
module: image_build
short_description: Build one image with BuildKit, its progress in a log file
description:
  - Builds O(name) from O(files). The action plugin of the same name shows the progress meanwhile.
  - The community module M(community.docker.docker_image_build) is silent until the end; a first build takes minutes.
options:
  name: {type: str, required: true, description: The image's reference, with its tag.}
  files: {type: dict, required: true, description: The build context, relative path to content.}
  build_args: {type: dict, default: {}, description: Build arguments.}
  secrets: {type: dict, default: {}, description: Secret id to file; one that does not exist is left out.}
  log: {type: path, required: true, description: Where the progress goes; kept after a failure.}
author: cdc-workstation
"""

EXAMPLES = """
- name: Build the image of Alertmanager
  image_build:
    name: cdc-workstation/alertmanager:0.31.1-0123456789ab
    files: {Dockerfile: "FROM scratch"}
    log: /tmp/alertmanager.log
"""

RETURN = """
name:
  description: The image's reference.
  type: str
  returned: always
"""

TAIL_LINES = 25


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "files": {"type": "dict", "required": True},
            "build_args": {"type": "dict", "default": {}},
            "secrets": {"type": "dict", "default": {}, "no_log": False},
            "log": {"type": "path", "required": True},
        },
        supports_check_mode=True,
    )
    name, log = module.params["name"], Path(module.params["log"])
    if module.check_mode:
        module.exit_json(changed=True, name=name)
    # `COPY` keeps the modes of directories, and containers run as another user than the one who builds.
    os.umask(0o022)
    log.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=module.tmpdir) as context, log.open("w", encoding="utf-8") as progress:
        for path, content in module.params["files"].items():
            target = Path(context, path)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(content, encoding="utf-8")
            target.chmod(0o755 if content.startswith("#!") else 0o644)
        command = ["docker", "buildx", "build", "--progress=plain", "--load", "--tag", name]
        for key, value in module.params["build_args"].items():
            command += ["--build-arg", f"{key}={value}"]
        for key, source in module.params["secrets"].items():
            if Path(source).expanduser().is_file():
                command += ["--secret", f"id={key},src={Path(source).expanduser()}"]
        result = subprocess.run([*command, context], stdout=progress, stderr=subprocess.STDOUT, check=False)
    if result.returncode != 0:
        tail = log.read_text(encoding="utf-8", errors="replace").splitlines()[-TAIL_LINES:]
        module.fail_json(
            msg="\n".join(
                [f"The build of {name} failed; nothing that runs was touched. The end of {log}:", *tail],
            ),
            rc=result.returncode,
        )
    module.exit_json(changed=True, name=name)


if __name__ == "__main__":
    main()
