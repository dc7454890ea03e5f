"""MySQL's DDL, read just far enough to tell which tables it touches and whether rows change without events."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

_TOKEN = re.compile(
    r"""(?P<space>\s+|--(?=\s|$)[^\n]*|\#[^\n]*|/\*(?!!).*?\*/)
      | (?P<version>/\*!\d*|\*/)
      | (?P<quoted>`(?:``|[^`])*`)
      | (?P<text>'(?:''|\\.|[^'\\])*'|"(?:""|\\.|[^"\\])*")
      | (?P<word>[^\W\d][\w$]*|\d+[^\W\d_][\w$]*)
      | (?P<number>\d+(?:\.\d*)?(?:[eE][+-]?\d+)?|\.\d+)
      | (?P<other>.)""",
    re.VERBOSE | re.DOTALL,
)
_TABLE_OPTIONS = frozenset(
    {
        "ALGORITHM",
        "AUTOEXTEND_SIZE",
        "AUTO_INCREMENT",
        "AVG_ROW_LENGTH",
        "CHARACTER",
        "CHARSET",
        "CHECKSUM",
        "COLLATE",
        "COMMENT",
        "COMPRESSION",
        "CONNECTION",
        "DEFAULT",
        "DELAY_KEY_WRITE",
        "DISABLE",
        "ENABLE",
        "ENCRYPTION",
        "ENGINE",
        "ENGINE_ATTRIBUTE",
        "FORCE",
        "INSERT_METHOD",
        "KEY_BLOCK_SIZE",
        "LOCK",
        "MAX_ROWS",
        "MIN_ROWS",
        "ORDER",
        "PACK_KEYS",
        "ROW_FORMAT",
        "SECONDARY_ENGINE",
        "SECONDARY_ENGINE_ATTRIBUTE",
        "STATS_AUTO_RECALC",
        "STATS_PERSISTENT",
        "STATS_SAMPLE_PAGES",
        "TABLESPACE",
        "UNION",
        "WITH",
        "WITHOUT",
    }
)
# Of partitions, what keeps every row.
_ROWS_STAY = frozenset({"ANALYZE", "CHECK", "COALESCE", "OPTIMIZE", "PARTITION", "REBUILD", "REMOVE", "REORGANIZE"})
_ROWS_CHANGE = frozenset({"DISCARD", "EXCHANGE", "IMPORT", "REPAIR", "TRUNCATE"})
_NO_COLUMN = frozenset(
    {
        "CHECK",
        "CONSTRAINT",
        "FOREIGN",
        "FULLTEXT",
        "INDEX",
        "KEY",
        "PARTITION",
        "PERIOD",
        "PRIMARY",
        "SPATIAL",
        "UNIQUE",
    }
)


@dataclass(frozen=True)
class Token:
    """A word, name or sign; `word` is empty for what cannot be a keyword."""

    text: str
    kind: str

    @property
    def word(self) -> str:
        """The keyword that this may be."""
        return self.text.upper() if self.kind == "word" else ""

    @property
    def name(self) -> str:
        """The identifier that this is."""
        quote = self.text[:1]
        return self.text[1:-1].replace(quote * 2, quote) if self.kind in ("quoted", "text") else self.text


Table = tuple[str, str]
"""Database and name."""


@dataclass
class Statement:
    """What a statement does to tables; `verb` is empty if it is none of these."""

    verb: str = ""
    """CREATE, DROP, ALTER, RENAME or TRUNCATE (of tables), DROP DATABASE."""
    tables: list[Table] = field(default_factory=list)
    renames: list[tuple[Table, Table]] = field(default_factory=list)
    temporary: bool = False
    if_exists: bool = False
    added: list[str] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)
    others: list[Table] = field(default_factory=list)
    """Tables that exchange rows with the altered one."""
    comment: str = ""
    reasons: list[str] = field(default_factory=list)
    """Why rows may have changed without change events."""


def tokens(sql: str) -> list[Token]:
    """Split a statement; comments are left out, but not what `/*!` makes executable."""
    found = []
    for match in _TOKEN.finditer(sql):
        kind = match.lastgroup or "other"
        if kind not in ("space", "version"):
            found.append(Token(match.group(), kind))
    return found


def read(sql: str, database: str) -> Statement:
    """Read a statement; names without a database are in `database`."""
    parts = tokens(sql)
    words = [part.word for part in parts[:6]] + [""] * 6
    if words[0] == "RENAME" and words[1] in ("TABLE", "TABLES"):
        return _rename(parts[2:], database)
    if words[0] == "DROP" and words[1] in ("DATABASE", "SCHEMA"):
        at = 4 if words[2] == "IF" else 2
        return Statement("DROP DATABASE", tables=[(part.name, "") for part in parts[at : at + 1]])
    if words[0] == "TRUNCATE":
        return Statement("TRUNCATE", tables=[_table(parts, 2 if words[1] == "TABLE" else 1, database)[0]])
    if words[0] not in ("CREATE", "DROP", "ALTER"):
        return Statement()
    temporary = words[1] == "TEMPORARY"
    at = 2 if temporary else 1
    if words[at] not in ("TABLE", "TABLES"):
        return Statement()
    at += 1
    if_exists = words[at] == "IF"
    if if_exists:
        at += 3 if words[at + 1] == "NOT" else 2
    statement = Statement(words[0], temporary=temporary, if_exists=if_exists)
    if words[0] == "DROP":
        statement.tables = [_table(part, 0, database)[0] for part in _split(parts[at:]) if part]
        return statement
    table, at = _table(parts, at, database)
    statement.tables = [table]
    if words[0] == "ALTER":
        for action in _split(parts[at:]):
            if action:
                _read_action(statement, action, table, database)
        for name in set(statement.added) & set(statement.dropped):
            statement.reasons.append(f"column {name} is dropped and added")
    return statement


def _rename(parts: Sequence[Token], database: str) -> Statement:
    statement = Statement("RENAME")
    for pair in _split(parts):
        old, at = _table(pair, 0, database)
        new, _ = _table(pair, at + 1, database)
        statement.renames.append((old, new))
    return statement


def _table(parts: Sequence[Token], at: int, database: str) -> tuple[Table, int]:
    if at >= len(parts):
        return (database, ""), at
    if at + 2 < len(parts) and parts[at + 1].text == ".":
        return (parts[at].name, parts[at + 2].name), at + 3
    return (database, parts[at].name), at + 1


def _split(parts: Sequence[Token]) -> list[list[Token]]:
    found: list[list[Token]] = [[]]
    depth = 0
    for part in parts:
        depth += (part.text == "(") - (part.text == ")")
        if part.text == "," and not depth:
            found.append([])
        elif part.text != ";":
            found[-1].append(part)
    return found


def _read_action(statement: Statement, action: list[Token], table: Table, database: str) -> None:
    words = [part.word for part in action[:4]] + [""] * 4
    verb = words[0]
    if verb in ("ADD", "DROP") and words[1] not in _NO_COLUMN:
        at = 2 if words[1] == "COLUMN" else 1
        if verb == "DROP":
            statement.dropped.append(action[at].name)
        elif action[at].text == "(":
            for column in _split(action[at + 1 : -1]):
                if column and column[0].word not in _NO_COLUMN:
                    _read_added(statement, column)
        else:
            _read_added(statement, action[at:])
    elif verb == "DROP" and words[1] == "PARTITION":
        statement.reasons.append("a partition is dropped")
    elif verb in ("CHANGE", "MODIFY"):
        statement.reasons.append(f"a column's name or type is changed ({_text(action)})")
    elif verb == "RENAME" and words[1] == "COLUMN":
        statement.reasons.append(f"a column is renamed ({_text(action)})")
    elif verb == "RENAME" and words[1] not in ("INDEX", "KEY"):
        at = 2 if words[1] in ("TO", "AS") or action[1].text == "=" else 1
        statement.renames.append((table, _table(action, at, database)[0]))
    elif verb in _ROWS_CHANGE:
        statement.reasons.append(f"rows come or go without change events ({_text(action)})")
        if verb == "EXCHANGE":
            at = next((i for i, part in enumerate(action) if part.word == "TABLE"), len(action))
            statement.others.append(_table(action, at + 1, database)[0])
    elif verb == "COMMENT":
        statement.comment = action[-1].name
    elif verb not in _TABLE_OPTIONS | _ROWS_STAY | {"ADD", "DROP", "ALTER", "RENAME"}:
        statement.reasons.append(f"what it does to rows is not known ({_text(action)})")
    if "ENGINE" in words and any(part.name.upper() == "BLACKHOLE" for part in action):
        statement.reasons.append("the engine keeps no rows")


def _read_added(statement: Statement, column: Sequence[Token]) -> None:
    name = column[0].name
    statement.added.append(name)
    for part, following in pairwise(column[1:]):
        is_literal = following.kind in ("text", "number") or following.text in ("+", "-") or following.word == "NULL"
        if part.word == "DEFAULT" and not is_literal:
            statement.reasons.append(f"the default of column {name} is computed")
    if {"AS", "AUTO_INCREMENT", "SERIAL"} & {part.word for part in column[1:]}:
        statement.reasons.append(f"the values of column {name} are computed")


def _text(action: Sequence[Token]) -> str:
    return " ".join(part.text for part in action[:6])
