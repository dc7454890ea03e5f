"""Taking secrets out of text that is shown to people or kept by a CI system."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from urllib.parse import quote

from pydantic import SecretStr

from cdc_workstation.settings import connection_file, get_settings

MASK = "***"

_SECRET_NAME = re.compile(r"passw|secret|token|api_?key|credential|private_?key", re.IGNORECASE)
# Shorter ones would mask half of a text and protect nothing.
_SHORTEST = 4
# What looks like a secret although nobody named it: `password=...`, `"token": "..."`, `IDENTIFIED BY '...'`.
_ASSIGNED = re.compile(
    r"""(?ix) ( ["']? \b [\w.-]* (?:passw(?:or)?d | secret | token | api_?key) ["']? \s* (?: [=:] | \s ) \s* )
        ( "[^"]*" | '[^']*' | (?<=[=:]) [^\s,;&)}"']+ | (?<=[=:]\s) [^\s,;&)}"']+ )""",
)
_IDENTIFIED = re.compile(r"(?i)(identified\s+(?:with\s+\S+\s+)?by\s+)('[^']*'|\"[^\"]*\")")
_USER_INFO = re.compile(r"(?i)(\b[a-z][a-z0-9+.-]*://[^\s/:@]*):[^\s/@]+@")


class Password(str):
    """A password that is itself where it is used, and masked where it is shown.

    pytest shows the arguments of a test that failed, a dictionary with a password among them.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return repr(MASK)


def redacted(text: str, secrets: Iterable[str] | None = None) -> str:
    """Return a text without the secrets in it.

    Args:
        text: any text.
        secrets: the secrets; by default those that `known_secrets` finds.
    """
    for secret in known_secrets() if secrets is None else secrets:
        text = text.replace(secret, MASK)
    text = _USER_INFO.sub(rf"\1:{MASK}@", text)
    text = _IDENTIFIED.sub(rf"\1{MASK}", text)
    return _ASSIGNED.sub(rf"\1{MASK}", text)


def is_secret_name(name: str) -> bool:
    """Tell whether a variable or setting of this name holds a secret."""
    return bool(_SECRET_NAME.search(name))


@cache
def known_secrets() -> tuple[str, ...]:
    """Return the secrets of the stack and of this process, longest first.

    They are the values of settings that are secret, of variables of `connection.env` and of the environment whose name
    says so, and the files of the stack's `secrets` directory as far as they can be read.
    """
    file = connection_file()
    values = [value.get_secret_value() for _, value in get_settings() if isinstance(value, SecretStr)]
    # Spark Connect's token is a part of its address.
    values += re.findall(r"token=([^;]+)", get_settings().spark_remote or "")
    values += _named(os.environ)
    values += _named(dict(line.split("=", 1) for line in _lines(file) if "=" in line))
    try:
        for path in (file.parent / "secrets").iterdir():
            values += [line.strip() for line in _lines(path)]
    except OSError:
        pass
    values += [quote(value, safe="") for value in values]
    return tuple(sorted({value for value in values if len(value) >= _SHORTEST}, key=len, reverse=True))


def _named(variables: Mapping[str, str]) -> list[str]:
    return [value.strip().strip("'\"") for name, value in variables.items() if _SECRET_NAME.search(name)]


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return []
