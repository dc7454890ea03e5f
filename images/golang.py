"""What Go writes into the programs that it links: their modules."""

from __future__ import annotations

from typing import NamedTuple

# debug/buildinfo of Go's standard library: the magic, a pointer size, flags, then from byte 32 two strings, each with
# its length before it. Flag 2 says that they are there and not behind pointers, as in programs of Go 1.18 and later.
MAGIC = b"\xff Go buildinf:"
_HEADER_SIZE = 32
_ALIGNMENT = 16
_INLINE_STRINGS = 2
# The module information stands between two markers of this length, which the runtime finds it by.
_MARKER_SIZE = 16


class GoModule(NamedTuple):
    """A module that was linked in; a replaced one under the name and version of what replaces it."""

    path: str
    version: str
    main: bool = False


class GoBuild(NamedTuple):
    """The compiler's version, for example `go1.26.1`, and the modules of a program."""

    go: str
    modules: list[GoModule]


def read_build(program: bytes) -> GoBuild | None:
    """Return what Go wrote into a program, or None where it was not made by Go 1.18 or later."""
    at = program.find(MAGIC)
    while at != -1 and at % _ALIGNMENT:
        at = program.find(MAGIC, at + 1)
    if at == -1 or len(program) < at + _HEADER_SIZE or not program[at + len(MAGIC) + 1] & _INLINE_STRINGS:
        return None
    try:
        version, end = _string(program, at + _HEADER_SIZE)
        information, _ = _string(program, end)
    except IndexError:
        return None
    lines = information[_MARKER_SIZE:-_MARKER_SIZE].decode("utf-8", "replace").splitlines()
    return GoBuild(version.decode("utf-8", "replace"), _modules(lines))


def _modules(lines: list[str]) -> list[GoModule]:
    modules: list[GoModule] = []
    for line in lines:
        kind, *fields = line.split("\t")
        if kind in ("mod", "dep") and len(fields) >= 2:
            modules.append(GoModule(fields[0], fields[1], kind == "mod"))
        elif kind == "=>" and len(fields) >= 2 and modules:
            modules[-1] = GoModule(fields[0], fields[1], modules[-1].main)
    return modules


def _string(data: bytes, at: int) -> tuple[bytes, int]:
    """Return the string at an offset, and the offset after it; its length is an unsigned varint of encoding/binary."""
    length = shift = 0
    while True:
        byte = data[at]
        at += 1
        length |= (byte & 0x7F) << shift
        if byte < 0x80:
            break
        shift += 7
    if at + length > len(data):
        raise IndexError(at)
    return data[at : at + length], at + length
