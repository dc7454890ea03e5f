"""What the lookup `rendered_tree` makes of a directory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from ansible.errors import AnsibleLookupError
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import init_plugin_loader
from ansible.template import Templar

Rendered = Callable[..., dict[str, str]]


@pytest.fixture(scope="module", autouse=True)
def _plugins() -> None:
    """Let Ansible find its own plugins."""
    init_plugin_loader()


@pytest.fixture
def rendered(load: Callable[[str], ModuleType]) -> Rendered:
    """Return relative path to content: `rendered(directory, port=9092)`."""
    plugin = load("roles/compose_service/lookup_plugins/rendered_tree.py")

    def rendered(directory: Path, **variables: object) -> dict[str, str]:
        loader = DataLoader()
        lookup = plugin.LookupModule(loader=loader, templar=Templar(loader, variables=variables))
        lookup._load_name = "rendered_tree"
        [tree] = lookup.run([str(directory)], variables=variables)
        return dict(tree)

    return rendered


def test_templates_are_rendered_and_other_files_are_taken_as_they_are(tmp_path: Path, rendered: Rendered) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "start").write_text("echo {{ not_a_variable }}\n")
    (tmp_path / "config.yml.j2").write_text("port: {{ port }}\n")

    assert rendered(tmp_path, port=9092) == {
        "bin/start": "echo {{ not_a_variable }}\n",
        "config.yml": "port: 9092\n",
    }


def test_a_template_that_renders_to_nothing_gives_no_file(tmp_path: Path, rendered: Rendered) -> None:
    (tmp_path / "only-in-one-mode.xml.j2").write_text("{% if mode == 'old' %}\n<project/>\n{% endif %}\n")

    assert rendered(tmp_path, mode="new") == {}
    assert rendered(tmp_path, mode="old") == {"only-in-one-mode.xml": "<project/>\n"}


def test_a_directory_that_is_not_there_is_empty(tmp_path: Path, rendered: Rendered) -> None:
    assert rendered(tmp_path / "absent") == {}


def test_a_file_that_is_no_text_is_named(tmp_path: Path, rendered: Rendered) -> None:
    (tmp_path / "image.png").write_bytes(b"\x89PNG\xff")

    with pytest.raises(AnsibleLookupError, match=r"image\.png is not UTF-8 text"):
        rendered(tmp_path)
