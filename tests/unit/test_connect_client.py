"""The client of Kafka Connect runs on targets that have no package of this project."""

from __future__ import annotations

import ast
import sys
from pathlib import Path


def test_client_imports_the_standard_library_alone(root: Path) -> None:
    """The role's module takes it along to the target."""
    tree = ast.parse((root / "roles/debezium/module_utils/kafka_connect.py").read_text())
    imported = {
        name.partition(".")[0]
        for node in tree.body
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [str(node.module)]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }

    assert imported
    assert imported <= sys.stdlib_module_names
