"""What `make` gives Ansible, and refuses to."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def make(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `make` in the repository."""
    return subprocess.run(
        ["make", "--no-print-directory", *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_an_inventory_that_does_not_exist_is_refused() -> None:
    run = make("--dry-run", "up", "INVENTORY=nope")

    assert run.returncode != 0
    assert "INVENTORY 'nope' is not an inventory; use one of: cluster laptop vagrant." in run.stderr


@pytest.mark.parametrize("locale", ["C", "POSIX", "de_DE.ISO-8859-1"])
def test_ansible_is_given_a_locale_of_utf_8(locale: str) -> None:
    run = make("--eval=charmap:\n\t@locale charmap", "charmap", LC_ALL=locale)

    assert run.stdout.strip() == "UTF-8"
