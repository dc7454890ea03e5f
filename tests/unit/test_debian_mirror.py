"""Whose mirror the base image and the engine's plugins come from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from conftest import Module

MODULE = "stack/library/debian_mirror.py"
Program = Callable[[str, str], dict[str, str]]
LINES = "http://other.example/ubuntu|Ubuntu|main|noble\nhttp://security.example/debian|Debian|main|stable-security\n"


def test_it_is_the_one_of_debians_main_archive(module: Module, program: Program) -> None:
    environment = program("apt-get", f"printf '{LINES}http://mirror.example/debian|Debian|main|stable\\n'")

    assert module(MODULE, _environment=environment)["mirror"] == "http://mirror.example/debian"


def test_lists_are_fetched_where_apt_has_none(module: Module, program: Program, tmp_path: Path) -> None:
    lists = tmp_path / "lists"
    known = f"[ -f {lists} ] && echo 'http://mirror.example/debian|Debian|main|stable'; true"
    environment = program("apt-get", f'case "$*" in *update*) touch {lists};; *) {known};; esac')

    assert module(MODULE, _environment=environment)["mirror"] == "http://mirror.example/debian"


def test_lists_that_cannot_be_fetched_fail_in_apts_words(module: Module, program: Program) -> None:
    environment = program("apt-get", 'case "$*" in *update*) echo "E: no route" >&2; exit 100;; esac')

    assert module(MODULE, _environment=environment)["msg"] == "apt cannot fetch its lists: E: no route"


def test_none_is_no_failure(module: Module, program: Program) -> None:
    assert module(MODULE, _environment=program("apt-get", "true"))["mirror"] == ""
