"""Fingerprints of a table's rows: which keys differ between two tables, in bounded memory.

A row is 32 bytes: a digest of its key and one of its values. They are kept by the key's first byte, and moved to files
when they outgrow memory, so that two tables are compared a 256th at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from hashlib import blake2b
from tempfile import TemporaryFile
from types import TracebackType
from typing import IO, Self

from cdc_workstation.verify.values import CanonicalRow

Digest = bytes
_SIZE = 16
_PARTS = 256
# Rows beyond this many are kept in files: 64 MiB of fingerprints.
ROWS_IN_MEMORY = 2_000_000
# So many differing keys are told apart; beyond that only their number is known.
TOLD = 100_000


def digest(row: CanonicalRow) -> Digest:
    """Return the digest of a row's, or a key's, canonical values."""
    return blake2b(repr(row).encode("utf-8", "surrogatepass"), digest_size=_SIZE).digest()


@dataclass
class Difference:
    """Which keys two tables do not have alike.

    Attributes:
        count: how many.
        entries: key to the row's digest in the source and in Delta, `None` where there is no such row; not all if
            `count` is greater.
    """

    count: int = 0
    entries: dict[Digest, tuple[Digest | None, Digest | None]] = field(default_factory=dict)

    @property
    def is_complete(self) -> bool:
        """Whether all keys are told."""
        return len(self.entries) == self.count


class Fingerprints:
    """The fingerprints of one table; a context manager that removes its files.

    Attributes:
        rows: how many rows.
        checksum: the sum of the rows' digests, which no order of rows changes.
    """

    def __init__(self, rows_in_memory: int = ROWS_IN_MEMORY) -> None:
        self.rows = 0
        self.checksum = 0
        self._parts = [bytearray() for _ in range(_PARTS)]
        self._limit = rows_in_memory
        self._in_memory = 0
        self._files: list[IO[bytes]] | None = None
        self._exits = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._exits.close()

    def add(self, key: Digest, row: Digest) -> None:
        """Add a row."""
        self._parts[key[0]] += key + row
        self.rows += 1
        self.checksum = added(self.checksum, row)
        self._in_memory += 1
        if self._in_memory > self._limit:
            self._spill()

    def part(self, number: int) -> bytes:
        """Return the fingerprints whose key begins with a byte."""
        if self._files is None:
            return bytes(self._parts[number])
        file = self._files[number]
        file.seek(0)
        return file.read() + self._parts[number]

    def _spill(self) -> None:
        if self._files is None:
            self._files = list(map(self._exits.enter_context, (TemporaryFile() for _ in range(_PARTS))))  # noqa: SIM115
        for file, part in zip(self._files, self._parts, strict=True):
            file.seek(0, 2)
            file.write(part)
            part.clear()
        self._in_memory = 0


def added(checksum: int, row: Digest | None, *, times: int = 1) -> int:
    """Return a checksum with a row added, or taken away with `times=-1`."""
    return checksum if row is None else (checksum + times * int.from_bytes(row)) % 2 ** (8 * _SIZE)


def compare(source: Fingerprints, delta: Fingerprints, told: int = TOLD) -> Difference:
    """Return the keys whose rows differ, or that one of the tables lacks."""
    difference = Difference()
    for number in range(_PARTS):
        here, there = source.part(number), delta.part(number)
        ours, theirs = dict(_pairs(here)), dict(_pairs(there))
        if ours == theirs and len(here) == len(there) == 2 * _SIZE * len(ours):
            continue
        for key in ours.keys() | theirs.keys():
            if ours.get(key) != theirs.get(key):
                _tell(difference, key, (ours.get(key), theirs.get(key)), told)
        for key in _repeated(there) | _repeated(here):
            if key not in difference.entries:
                _tell(difference, key, (ours.get(key), theirs.get(key)), told)
    return difference


def _tell(difference: Difference, key: Digest, entry: tuple[Digest | None, Digest | None], told: int) -> None:
    difference.count += 1
    if len(difference.entries) < told:
        difference.entries[key] = entry


def _pairs(part: bytes) -> Iterable[tuple[Digest, Digest]]:
    step = 2 * _SIZE
    return ((part[at : at + _SIZE], part[at + _SIZE : at + step]) for at in range(0, len(part), step))


def _repeated(part: bytes) -> set[Digest]:
    """Return keys that are there more than once: a key that Delta has twice is drift, whatever its rows say."""
    seen: set[Digest] = set()
    twice: set[Digest] = set()
    for key, _ in _pairs(part):
        (twice if key in seen else seen).add(key)
    return twice


def numbered(digest_of: Callable[[CanonicalRow], Digest] = digest) -> Callable[[CanonicalRow], Digest]:
    """Return a digest for rows without a key: the second of two equal rows has another one than the first."""
    seen: dict[Digest, int] = {}

    def of(row: CanonicalRow) -> Digest:
        plain = digest_of(row)
        count = seen[plain] = seen.get(plain, 0) + 1
        return plain if count == 1 else digest_of((plain.hex(), str(count)))

    return of
