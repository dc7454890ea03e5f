"""How a command ends: exit codes, and errors that are one sentence."""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """Exit codes of all commands."""

    OK = 0
    """Done, and all is well."""
    FOUND = 1
    """Done, and something is not as it should be: drift, an unhealthy service, dead letters."""
    NOT_DONE = 2
    """Not done: wrong usage, an unknown table, a service that does not answer."""


class CliError(Exception):
    """A command cannot do what it was asked; the text says what is wrong and what to do."""
