"""Python's side of the driver's JVM."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from py4j.java_gateway import JavaPackage, JVMView


def remember_names() -> None:
    """Let py4j keep what the name of a package or a class stands for.

    It asks the JVM at each use, and for each part of `org.apache.kafka` the JVM looks through every jar of the class
    path. That was a sixteenth of the sink's work.
    """
    for kind in (JVMView, JavaPackage):
        kind.__getattr__ = _once(kind.__getattr__)


def _once(ask: Callable[[Any, str], Any]) -> Callable[[Any, str], Any]:
    def look_up(self: Any, name: str) -> Any:
        value = self.__dict__[name] = ask(self, name)
        return value

    return look_up
