"""Whose mirror the base image and the engine's plugins come from."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
# What `apt-get indextargets` prints, its filters applied.
OTHERS = "http://security.example/debian stable-security\nhttp://mirror.example/debian stable-updates\n"
ANSWERS = {
    "usual": f"{OTHERS}http://mirror.example/debian stable\nhttp://second.example/debian stable\n",
    "none of a release": OTHERS,
    "on a medium": "cdrom://debian stable\n",
}


def test_the_mirror_is_that_of_a_release_of_debian(tmp_path: Path) -> None:
    tasks = []
    for number, answer in enumerate(ANSWERS.values()):
        program = tmp_path / str(number) / "apt-get"
        program.parent.mkdir()
        program.write_text(f"#!/bin/sh\ncat <<'END'\n{answer}END\n")
        program.chmod(0o755)
        tasks += [
            {
                "ansible.builtin.include_tasks": {
                    "file": str(ROOT / "roles/stack/tasks/debian_mirror.yml"),
                    "apply": {"environment": {"PATH": f"{program.parent}:{os.environ['PATH']}"}},
                }
            },
            {
                "ansible.builtin.copy": {
                    "content": "{{ __stack_debian_mirror }}",
                    "dest": str(program.parent / "found"),
                }
            },
        ]
    variables = {"__stack_proxies": {}, "ansible_python_interpreter": sys.executable}
    play = {"hosts": "localhost", "gather_facts": False, "vars": variables, "tasks": tasks}
    playbook = tmp_path / "playbook.yml"
    playbook.write_text(json.dumps([play]))
    run = subprocess.run(
        [Path(sys.executable).with_name("ansible-playbook"), "-i", "localhost,", "-c", "local", playbook],
        cwd=ROOT,
        env={**os.environ, "LC_ALL": "C.UTF-8", "ANSIBLE_STDOUT_CALLBACK": "default"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert run.returncode == 0, run.stdout + run.stderr
    found = [(tmp_path / str(number) / "found").read_text() for number in range(len(ANSWERS))]
    assert found == ["http://mirror.example/debian", "", ""]
