"""What the lookup `rendered_tree` makes of a directory."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from ansible.errors import AnsibleLookupError
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import init_plugin_loader
from ansible.template import Templar

PLUGIN = Path(__file__).parents[2] / "roles" / "compose_service" / "lookup_plugins" / "rendered_tree.py"


@pytest.fixture(scope="module", autouse=True)
def _plugins() -> None:
    """Let Ansible find its own plugins."""
    init_plugin_loader()


def rendered(directory: Path, **variables: object) -> dict[str, str]:
    """Return relative path to content."""
    spec = importlib.util.spec_from_file_location("rendered_tree", PLUGIN)
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    loader = DataLoader()
    lookup = loaded.LookupModule(loader=loader, templar=Templar(loader, variables=variables))
    lookup._load_name = "rendered_tree"
    [tree] = lookup.run([str(directory)], variables=variables)
    return dict(tree)


def test_templates_are_rendered_and_other_files_are_taken_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "start").write_text("echo {{ not_a_variable }}\n")
    (tmp_path / "config.yml.j2").write_text("port: {{ port }}\n")

    assert rendered(tmp_path, port=9092) == {
        "bin/start": "echo {{ not_a_variable }}\n",
        "config.yml": "port: 9092\n",
    }


def test_a_template_that_renders_to_nothing_gives_no_file(tmp_path: Path) -> None:
    (tmp_path / "only-in-one-mode.xml.j2").write_text("{% if mode == 'old' %}\n<project/>\n{% endif %}\n")

    assert rendered(tmp_path, mode="new") == {}
    assert rendered(tmp_path, mode="old") == {"only-in-one-mode.xml": "<project/>\n"}


def test_a_directory_that_is_not_there_is_empty(tmp_path: Path) -> None:
    assert rendered(tmp_path / "absent") == {}


def test_a_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "image.png").write_bytes(b"\x89PNG\xff")

    with pytest.raises(AnsibleLookupError, match=r"image\.png is not UTF-8 text"):
        rendered(tmp_path)
