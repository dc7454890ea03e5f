"""Which services the chosen profiles give."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

DEFAULTS = yaml.safe_load((Path(__file__).parents[2] / "roles" / "stack" / "defaults" / "main.yml").read_text())


def services(profiles: Any) -> list[str]:
    """Return what `stack_services` is by default."""
    variables = {"stack_profiles": profiles, "stack_profile_services": DEFAULTS["stack_profile_services"]}
    found: list[str] = Templar(DataLoader(), variables=variables).template(
        trust_as_template(DEFAULTS["stack_services"])
    )
    return found


def test_the_default_is_the_pipeline_and_what_watches_it() -> None:
    assert services(DEFAULTS["stack_profiles"]) == DEFAULTS["stack_profile_services"]["core"]


@pytest.mark.parametrize("profiles", [["core", "storage"], "core, storage"], ids=["list", "as on a command line"])
def test_a_profile_adds_its_services(profiles: Any) -> None:
    assert services(profiles) == [*DEFAULTS["stack_profile_services"]["core"], "minio"]


def test_an_unknown_profile_is_left_to_preflight() -> None:
    assert services(["core", "storag"]) == services(["core"])
