"""Types of MySQL 9 and PostgreSQL 17 with values at their edges, and what the database itself shows for each."""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any


class Lost(str):
    """A literal whose value no Delta type holds: NULL in Delta, and counted."""


class Unsent(str):
    """A literal whose value the connector sends as NULL; counted where the column may not be NULL."""


@dataclass(frozen=True)
class ValueType:
    """A column of the matrix.

    Attributes:
        name: the column's name.
        sql: its type in the database.
        values: literals in SQL.
        oracle: an expression that gives what the database shows, where `{c}` is the column.
        shown: turns Delta's value into the same.
        read: turns what the database gives into a value that can be compared.
        key: whether it may be part of a primary key.
        default: whether a literal may be its default; otherwise it is an expression.
    """

    name: str
    sql: str
    values: tuple[str, ...]
    oracle: str = "{c}"
    shown: Callable[[Any], Any] = field(default=lambda value: plain(value))
    read: Callable[[Any], Any] = field(default=lambda value: value)
    key: bool = True
    default: bool = True


def plain(value: Any) -> str:
    """Write a value as text, a number without an exponent."""
    return format(value, "f") if isinstance(value, Decimal) else str(value)


def quoted(*texts: str) -> tuple[str, ...]:
    """Return literals of standard SQL."""
    return tuple("'" + text.replace("'", "''") + "'" for text in texts)


def moment(value: datetime) -> str:
    """Write a point in time as MySQL does, in UTC, without zeros at its end."""
    text = (value.astimezone(UTC) if value.tzinfo else value).replace(tzinfo=None).isoformat(" ")
    return text.rstrip("0").rstrip(".") if "." in text else text


def clock(value: str) -> str:
    """Write a time of day without zeros at the end of its fraction."""
    return value.rstrip("0").rstrip(".") if "." in value else value


def trimmed(value: Any) -> str:
    """Write a decimal without zeros at the end of its fraction."""
    text = format(Decimal(value), "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def number(value: Any) -> str:
    """Write a floating-point number so that -0.0 is not 0.0."""
    return repr(float(value))


def unsigned_zero(value: Any) -> str:
    """Write a floating-point number of MySQL, whose arithmetic knows no -0.0."""
    return repr(float(value) + 0.0)


def hexadecimal(value: bytes) -> str:
    """Write bytes in hexadecimal."""
    return bytes(value).hex().upper()


def document(value: str) -> str:
    """Write a JSON document in one way. MySQL's numbers with more than 20 digits are floating-point ones."""

    def digits(text: str) -> str:
        return trimmed(text) if len(text) <= _DIGITS and "e" not in text.lower() else number(text)

    return json.dumps(json.loads(value, parse_float=digits, parse_int=digits), sort_keys=True)


def geometry(value: dict[str, Any]) -> str:
    """Write SRID and well-known binary."""
    return f"{value['srid'] or 0}:{bytes(value['wkb']).hex().upper()}"


_DIGITS = 20
_TEXT = "CONVERT({c} USING utf8mb4)"
_NUMBER = "CAST({c} AS CHAR)"
# Without zeros at the end of a fraction.
_MOMENT = "IF(LOCATE('.', {c}), TRIM(TRAILING '.' FROM TRIM(TRAILING '0' FROM CAST({c} AS CHAR))), CAST({c} AS CHAR))"
_HEX = "HEX({c})"
_GEOMETRY = "CONCAT(ST_SRID({c}), ':', HEX(ST_AsBinary({c}, 'axis-order=long-lat')))"

_UNICODE = ("''", "'a'", "' lead'", "'日本語 ñ 𝄞 🚀'", r"'it''s \\ \" \n \t %s ${x} ?'", "'\\0 nul'", "'NULL'")
_DATES = (
    "'0001-01-01'",
    "'0099-05-05'",
    "'0100-03-01'",
    "'1000-01-01'",
    "'1582-10-04'",
    "'1582-10-10'",
    "'1582-10-15'",
    "'1900-02-28'",
    "'1969-12-31'",
    "'1970-01-01'",
    "'2000-02-29'",
    "'2024-02-29'",
    "'2069-12-31'",
    "'9999-12-31'",
)
_ZERO_DATES = (Unsent("'0000-00-00'"), Unsent("'2024-00-00'"), Unsent("'2024-02-00'"), Unsent("'0000-01-01'"))


def _moments(fraction: str) -> tuple[str, ...]:
    return (
        *(date[:-1] + " 00:00:00'" for date in _DATES),
        f"'0001-01-01 00:00:00{fraction}'",
        f"'1582-10-10 00:00:00{fraction}'",
        f"'1969-12-31 23:59:59{fraction}'",
        f"'2024-02-29 23:59:59{fraction}'",
        f"'2024-03-31 02:30:00{fraction}'",
        f"'9999-12-31 23:59:59{fraction}'",
    )


def _datetimes(fraction: str) -> tuple[str, ...]:
    return (*_moments(fraction), *_ZERO_DATES)


def _times(fraction: str) -> tuple[str, ...]:
    return (
        "'00:00:00'",
        f"'-00:00:01{fraction}'",
        f"'-838:59:58{fraction}'",
        f"'838:59:58{fraction}'",
        "'24:00:00'",
        f"'23:59:59{fraction}'",
        "'-838:59:59'",
        "'838:59:59'",
    )


def _integers(low: int, high: int) -> tuple[str, ...]:
    return tuple(str(value) for value in (low, -1, 0, 1, high) if value >= low)


MYSQL: tuple[ValueType, ...] = (
    ValueType("tiny", "TINYINT", _integers(-(2**7), 2**7 - 1), _NUMBER),
    ValueType("tiny_u", "TINYINT UNSIGNED", _integers(0, 2**8 - 1), _NUMBER),
    ValueType("tiny_z", "TINYINT ZEROFILL", _integers(0, 2**8 - 1), "CAST({c} + 0 AS CHAR)"),
    ValueType("flag", "BOOLEAN", ("-128", "0", "1", "2", "127"), _NUMBER),
    ValueType("small", "SMALLINT", _integers(-(2**15), 2**15 - 1), _NUMBER),
    ValueType("small_u", "SMALLINT UNSIGNED", _integers(0, 2**16 - 1), _NUMBER),
    ValueType("medium", "MEDIUMINT", _integers(-(2**23), 2**23 - 1), _NUMBER),
    ValueType("medium_u", "MEDIUMINT UNSIGNED", _integers(0, 2**24 - 1), _NUMBER),
    ValueType("whole", "INT", _integers(-(2**31), 2**31 - 1), _NUMBER),
    ValueType("whole_u", "INT UNSIGNED", _integers(0, 2**32 - 1), _NUMBER),
    ValueType("whole_z", "INT(5) ZEROFILL", _integers(0, 2**32 - 1), "CAST({c} + 0 AS CHAR)"),
    ValueType("big", "BIGINT", _integers(-(2**63), 2**63 - 1), _NUMBER),
    ValueType("big_u", "BIGINT UNSIGNED", _integers(0, 2**64 - 1), _NUMBER),
    ValueType("big_z", "BIGINT ZEROFILL", _integers(0, 2**64 - 1), "CAST({c} + 0 AS CHAR)"),
    ValueType("dec_10", "DECIMAL", ("0", "-9999999999", "9999999999"), _NUMBER),
    ValueType("dec_10_2", "DECIMAL(10,2)", ("0", "-0.01", "9.90", "-99999999.99", "99999999.99"), _NUMBER),
    ValueType("dec_u", "NUMERIC(8,3) UNSIGNED", ("0", "0.001", "99999.999"), _NUMBER),
    ValueType("dec_38_0", "DECIMAL(38,0)", ("0", "-" + "9" * 38, "12345678901234567890123456789012345671"), _NUMBER),
    ValueType("dec_38_30", "DECIMAL(38,30)", ("0", "-0." + "0" * 29 + "1", "9" * 8 + "." + "9" * 30), _NUMBER),
    ValueType("dec_39_0", "DECIMAL(39,0)", ("0", "-" + "9" * 39, "123"), _NUMBER),
    ValueType("dec_65_30", "DECIMAL(65,30)", ("0", "-" + "9" * 35 + "." + "9" * 30, "0." + "0" * 29 + "1"), _NUMBER),
    # By a snapshot a FLOAT has the six digits that MySQL shows.
    ValueType(
        "single",
        "FLOAT",
        ("0", "0.1", "-1.17549e-38", "3.40282e38", "16777200"),
        "{c} + 0e0",
        unsigned_zero,
        unsigned_zero,
        key=False,
    ),
    ValueType(
        "single_7_3", "FLOAT(7,3)", ("0", "-999.125", "0.001"), "{c} + 0e0", unsigned_zero, unsigned_zero, key=False
    ),
    ValueType(
        "ratio",
        "DOUBLE",
        ("0", "-0e0", "0.1", "-1.7976931348623157e308", "2.2250738585072014e-308", "5e-324", "123456789012345.67"),
        "{c} + 0e0",
        unsigned_zero,
        unsigned_zero,
        key=False,
    ),
    ValueType("real_", "REAL", ("0", "1e16", "1e-7"), "{c} + 0e0", unsigned_zero, unsigned_zero, key=False),
    ValueType("bit_1", "BIT(1)", ("0", "1"), "CAST({c} + 0 AS CHAR)", lambda value: str(int(value))),
    ValueType("bit_8", "BIT(8)", ("0", "1", "255", "b'10000001'"), "LPAD(HEX({c}), 2, '0')", hexadecimal),
    ValueType("bit_10", "BIT(10)", ("0", "1", "1023", "b'1000000001'"), "LPAD(HEX({c}), 4, '0')", hexadecimal),
    ValueType("bit_64", "BIT(64)", ("0", "1", "18446744073709551615"), "LPAD(HEX({c}), 16, '0')", hexadecimal),
    ValueType("day", "DATE", (*_DATES, *_ZERO_DATES), _NUMBER),
    ValueType("happened", "DATETIME", _datetimes(""), _MOMENT, moment),
    ValueType("happened_1", "DATETIME(1)", _datetimes(".5"), _MOMENT, moment),
    ValueType("happened_3", "DATETIME(3)", _datetimes(".125"), _MOMENT, moment),
    ValueType("happened_6", "DATETIME(6)", _datetimes(".999999"), _MOMENT, moment),
    ValueType(
        "stamped",
        "TIMESTAMP NULL",
        ("'1970-01-01 00:00:01'", "'2024-02-29 12:00:00'", "'2038-01-19 03:14:07'", Unsent("'0000-00-00'")),
        _MOMENT,
        moment,
    ),
    ValueType(
        "stamped_6",
        "TIMESTAMP(6) NULL",
        ("'1970-01-01 00:00:01.000001'", "'2024-10-27 00:30:00.123456'", "'2038-01-19 03:14:07.499999'"),
        _MOMENT,
        moment,
    ),
    ValueType("clock", "TIME", _times(""), _NUMBER),
    ValueType("clock_3", "TIME(3)", _times(".125"), _MOMENT, clock),
    ValueType("clock_6", "TIME(6)", _times(".000001"), _MOMENT, clock),
    ValueType("made", "YEAR", ("0", "1901", "1970", "2024", "2155"), "CAST({c} + 0 AS CHAR)"),
    ValueType("code", "CHAR(30)", _UNICODE[:5], _TEXT),
    ValueType("body", "VARCHAR(60)", (*_UNICODE, "'trail  '"), _TEXT),
    ValueType("latin", "VARCHAR(20) CHARACTER SET latin1", ("'é € ÿ'", "''"), _TEXT),
    ValueType("utf16_", "VARCHAR(20) CHARACTER SET utf16", ("'𝄞 é'", "''"), _TEXT),
    ValueType("cyrillic", "CHAR(20) CHARACTER SET cp1251", ("'Привет'", "''"), _TEXT),
    ValueType("chinese", "VARCHAR(20) CHARACTER SET gb18030", ("'汉字 😀'", "''"), _TEXT),
    ValueType("exact", "VARCHAR(20) COLLATE utf8mb4_bin", ("'a'", "'A'", "'ä'"), _TEXT),
    ValueType("tiny_text", "TINYTEXT", _UNICODE, _TEXT, key=False, default=False),
    ValueType("text_", "TEXT", _UNICODE, _TEXT, key=False, default=False),
    ValueType("long_text", "LONGTEXT", (*_UNICODE, "REPEAT('𝄞', 20000)"), _TEXT, key=False, default=False),
    ValueType(
        "fixed", "BINARY(5)", ("X'6162'", "X''", "X'0000000000'", "X'00FF00FF00'", "X'6162202020'"), _HEX, hexadecimal
    ),
    ValueType("data", "VARBINARY(16)", ("X''", "X'00'", "X'00FF5C27'", "X'6100'"), _HEX, hexadecimal),
    ValueType("blob_", "BLOB", ("X''", "X'00'", "X'00FF5C27'"), _HEX, hexadecimal, key=False, default=False),
    ValueType("long_blob", "LONGBLOB", ("X''", "REPEAT(X'00FF', 40000)"), _HEX, hexadecimal, key=False, default=False),
    ValueType(
        "kind",
        r"ENUM('a,b', 'it''s', 'e\\f', ' lead', 'ünï', 'IN', '\\,', 'x=1;y', '')",
        ("'a,b'", "'it''s'", r"'e\\f'", "' lead'", "'ünï'", "'IN'", r"'\\,'", "'x=1;y'", "''"),
        _TEXT,
    ),
    ValueType(
        "tags",
        r"SET('a', 'it''s', 'e\\f', ' lead', 'ünï', 'last')",
        ("''", "'a'", r"'a,it''s,e\\f, lead,ünï,last'", "'a,last'", r"'e\\f'"),
        _TEXT,
    ),
    ValueType(
        "doc",
        "JSON",
        (
            "'null'",
            "'{}'",
            "'[]'",
            "'\"\"'",
            "'true'",
            "'0'",
            "'-1.5'",
            "'0.1'",
            "'1e100'",
            "'18446744073709551615'",
            "'-9223372036854775808'",
            "'123456789012345678901234567890'",
            r"""'{"naïve": [1, 2.5, null, true, {"b": {}}], "emoji 🚀": "𝄞 \\" \\\\ \\n \\u0001 \\u2028 /"}'""",
            "CAST(CAST('1.10' AS DECIMAL(10,2)) AS JSON)",
            "CAST(CAST('2024-02-29' AS DATE) AS JSON)",
            "JSON_ARRAY(1.0, 100e0, 1e20, 0.1e0)",
            "JSON_OBJECT('', '', 'a b', REPEAT('x', 300))",
        ),
        "CAST({c} AS CHAR)",
        document,
        document,
        key=False,
        default=False,
    ),
    ValueType(
        "spot",
        "POINT",
        ("ST_GeomFromText('POINT(1 2.5)')", "ST_GeomFromText('POINT(10 -20)', 4326)"),
        _GEOMETRY,
        geometry,
        key=False,
        default=False,
    ),
    ValueType(
        "shape",
        "GEOMETRY",
        (
            "ST_GeomFromText('POINT(0 0)')",
            "ST_GeomFromText('LINESTRING(0 0, 1 1, 2 0.5)')",
            "ST_GeomFromText('POLYGON((0 0, 10 0, 10 10, 0 0))', 4326)",
            "ST_GeomFromText('GEOMETRYCOLLECTION EMPTY')",
            "ST_GeomFromText('GEOMETRYCOLLECTION(POINT(1 1), LINESTRING(0 0, 1 1))')",
        ),
        _GEOMETRY,
        geometry,
        key=False,
        default=False,
    ),
    ValueType(
        "embedding",
        "VECTOR(3)",
        ("STRING_TO_VECTOR('[1,2,3]')", "STRING_TO_VECTOR('[-0.1, 3.4e38, 0.00001]')"),
        _HEX,
        lambda value: struct.pack(f"<{len(value)}f", *value).hex().upper(),
        key=False,
        default=False,
    ),
)


def interval(value: str) -> str:
    """Write months, days and microseconds of an ISO 8601 duration."""
    dates, _, times = value.removeprefix("P").partition("T")
    amount = {unit: Decimal(digits) for digits, unit in re.findall(r"([-+]?[\d.]+)([YMD])", dates)}
    months, days = amount.get("Y", Decimal(0)) * 12 + amount.get("M", Decimal(0)), amount.get("D", Decimal(0))
    amount = {unit: Decimal(digits) for digits, unit in re.findall(r"([-+]?[\d.]+)([HMS])", times)}
    seconds = sum(
        (amount.get(unit, Decimal(0)) * factor for unit, factor in (("H", 3600), ("M", 60), ("S", 1))), Decimal(0)
    )
    return ":".join(map(trimmed, (months, days, seconds * 1_000_000)))


def items(shown: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return what writes the items of an array."""

    def text(value: Any) -> Any:
        if value is None:
            return None
        return list(map(text, value)) if isinstance(value, list) else shown(value)

    return text


def pairs(value: Any) -> str:
    """Write a map, or its JSON document, with sorted keys."""
    return json.dumps(json.loads(value) if isinstance(value, str) else dict(value), sort_keys=True)


_SHOWN = "{c}::text"
# Of each item the text that the database shows, in JSON.
_ITEMS = (
    "(SELECT coalesce(json_agg(item::text ORDER BY place), '[]')::text"
    " FROM unnest({c}) WITH ORDINALITY AS u(item, place) HAVING {c} IS NOT NULL)"
)
_INTERVAL = (
    "CASE WHEN {c} IS NOT NULL THEN concat("
    "trim_scale(extract(year FROM {c}) * 12 + extract(month FROM {c})), ':', extract(day FROM {c}), ':', trim_scale("
    "(extract(hour FROM {c}) * 60 + extract(minute FROM {c})) * 60000000 + extract(microseconds FROM {c}))) END"
)


def text_of_moment(value: datetime) -> str:
    """Write a point in time as PostgreSQL does where the zone is UTC."""
    return moment(value) + ("+00" if value.tzinfo else "")


# By a snapshot ten days of 1582 are ten days later.
_POSTGRES_DATES = (
    *(date for date in _DATES if date != "'1582-10-10'"),
    Lost("'infinity'"),
    Lost("'-infinity'"),
    Lost("'0001-12-31 BC'"),
    Lost("'10000-01-01'"),
)
_POSTGRES_MOMENTS = (
    *_moments(".999999"),
    Lost("'infinity'"),
    Lost("'-infinity'"),
    Lost("'0044-03-15 10:00 BC'"),
    Lost("'294276-01-01'"),
)
_INTERVALS = (
    "'0'",
    "'1 year 2 months 3 days 04:05:06.789012'",
    "'-1 year -2 months +3 days -04:05:06'",
    "'1000 hours'",
    "'-0.000001 s'",
    "'178000000 years'",
    "'1 month -1 day'",
)

POSTGRES: tuple[ValueType, ...] = (
    ValueType("flag", "boolean", ("true", "false"), _SHOWN, lambda value: str(value).lower()),
    ValueType("small", "smallint", _integers(-(2**15), 2**15 - 1), _SHOWN),
    ValueType("whole", "integer", _integers(-(2**31), 2**31 - 1), _SHOWN),
    ValueType("big", "bigint", _integers(-(2**63), 2**63 - 1), _SHOWN),
    ValueType("oid_", "oid", ("0", "1", "4294967295"), _SHOWN),
    ValueType("xid8_", "xid8", ("'0'", "'18446744073709551615'"), _SHOWN),
    ValueType("dec_10_2", "numeric(10,2)", ("0", "-0.01", "9.90", "99999999.99", Unsent("'NaN'")), _SHOWN),
    ValueType("dec_38_10", "numeric(38,10)", ("0", "-" + "9" * 28 + "." + "9" * 10, Unsent("'NaN'")), _SHOWN),
    ValueType("dec_40_2", "numeric(40,2)", ("0", "-" + "9" * 38 + ".99", "'NaN'"), _SHOWN),
    ValueType("dec_minus", "numeric(5,-2)", ("0", "1234567", "-9999900", Unsent("'NaN'")), _SHOWN),
    ValueType("dec_small", "numeric(3,5)", ("0", "0.00123", "-0.00999"), _SHOWN),
    ValueType(
        "exact",
        "numeric",
        (
            "0",
            "1.50",
            "-0." + "0" * 49 + "1",
            "123456789012345678901234567890.123456789",
            "1e200",
            "'NaN'",
            "'Infinity'",
            "'-Infinity'",
            "10000000000",
            "0.00",
        ),
        _SHOWN,
    ),
    ValueType(
        "single",
        "real",
        ("0", "'-0'", "0.1", "3.4028235e38", "1e-45", "'NaN'", "'Infinity'", "'-Infinity'"),
        "{c}::float8",
        number,
        number,
        key=False,
    ),
    ValueType(
        "ratio",
        "double precision",
        (
            "0",
            "'-0'",
            "0.1",
            "-1.7976931348623157e308",
            "5e-324",
            "'NaN'",
            "'Infinity'",
            "'-Infinity'",
            "1e16",
            "123456789.125",
        ),
        "{c}",
        number,
        number,
        key=False,
    ),
    ValueType(
        "cash", "money", ("'0'", "'-92233720368547758.08'", "'92233720368547758.07'", "'1.10'"), "{c}::numeric::text"
    ),
    ValueType(
        "body",
        "text",
        (*quoted("", "a", " lead", "日本語 ñ 𝄞 🚀", "it's \\ \" \n ${x} ?", "NULL", "trail  "), "repeat('𝄞', 20000)"),
        _SHOWN,
    ),
    ValueType("word", "varchar(60)", quoted("", "a", "日本語 ñ 𝄞 🚀", "trail  "), _SHOWN),
    ValueType("code", "char(8)", quoted("", "a", "ñ 🚀"), "CASE WHEN {c} IS NOT NULL THEN format('%s', {c}) END"),
    ValueType("letter", '"char"', quoted("a", ""), _SHOWN),
    ValueType("name_", "name", quoted("", "pg_class"), _SHOWN),
    ValueType("nocase", "{s}.citext", quoted("", "ÄbC"), _SHOWN),
    ValueType(
        "data",
        "bytea",
        (r"'\x'", r"'\x00ff5c27'", "decode(repeat('00ff', 4000), 'hex')"),
        "upper(encode({c}, 'hex'))",
        hexadecimal,
    ),
    ValueType("day", "date", _POSTGRES_DATES, _SHOWN),
    ValueType("happened", "timestamp", _POSTGRES_MOMENTS, _SHOWN, text_of_moment),
    ValueType("happened_0", "timestamp(0)", (*_moments(""), Lost("'infinity'")), _SHOWN, text_of_moment),
    ValueType("happened_3", "timestamp(3)", (*_moments(".125"), Lost("'infinity'")), _SHOWN, text_of_moment),
    ValueType(
        "stamped",
        "timestamptz",
        (
            *_POSTGRES_MOMENTS,
            "'2024-02-29 23:00:00.000001+11'",
            "'0001-01-01 00:00:00+00'",
            Lost("'0001-01-01 00:00:00+05'"),
        ),
        _SHOWN,
        text_of_moment,
    ),
    ValueType("stamped_0", "timestamptz(0)", (*_moments(""), Lost("'infinity'")), _SHOWN, text_of_moment),
    ValueType(
        "clock",
        "time",
        quoted("00:00:00", "23:59:59.999999", "24:00:00", "12:00:00.5"),
        _SHOWN,
        clock,
    ),
    ValueType("clock_0", "time(0)", quoted("00:00:00", "23:59:59", "24:00:00"), _SHOWN),
    ValueType(
        "clock_3",
        "time(3)",
        quoted("00:00:00", "23:59:59.999"),
        _SHOWN,
        clock,
    ),
    ValueType(
        "zoned",
        "timetz",
        quoted("00:00:00+00", "23:59:59.999999-12", "01:30:00+05:30", "12:00:00+15:59"),
        "({c} AT TIME ZONE 'UTC')::time::text",
        lambda value: value.removesuffix("Z"),
    ),
    ValueType("span", "interval", _INTERVALS, _INTERVAL, interval),
    ValueType(
        "ident", "uuid", quoted("00000000-0000-0000-0000-000000000000", "0fa6a3a8-7e3e-4b36-9b3b-0c7e3a3b1c11"), _SHOWN
    ),
    ValueType(
        "host_",
        "inet",
        quoted("10.0.0.1", "192.168.1.5/24", "::1", "2001:db8::/32"),
        "CASE WHEN {c} IS NOT NULL THEN format('%s', {c}) END",
    ),
    ValueType("net", "cidr", quoted("10.0.0.0/8", "::/0", "192.168.1.5/32"), _SHOWN),
    ValueType("mac", "macaddr", quoted("08:00:2b:01:02:03"), _SHOWN),
    ValueType("mac8", "macaddr8", quoted("08:00:2b:01:02:03:04:05"), _SHOWN),
    ValueType(
        "doc",
        "json",
        quoted(
            "null",
            "{}",
            '{"b":1,  "a":1.0, "a":2}',
            "123456789012345678901234567890.10",
            '"\\u00e9 \\ud834\\udd1e"',
            "[1,\n2]",
        ),
        _SHOWN,
        key=False,
    ),
    ValueType(
        "docb",
        "jsonb",
        quoted(
            "null",
            "{}",
            '{"b": [1, null, {"ñ": "🚀"}], "a": 1.10}',
            "1e50",
            "123456789012345678901234567890.10",
            '"q \\" b \\\\"',
        ),
        _SHOWN,
    ),
    ValueType("path_", "jsonpath", quoted("$", "$.a[*] ? (@ > 1)"), _SHOWN, key=False),
    ValueType("markup", "xml", quoted('<a b="1">ñ &lt;</a>', ""), _SHOWN, key=False),
    ValueType("vector_", "tsvector", quoted("", "'fat':2 'rat':3A", "'it''s' 'ñ'"), _SHOWN),
    ValueType("query_", "tsquery", quoted("", "'fat' & !'rat':A"), _SHOWN),
    ValueType("bit_", "bit", ("'0'", "'1'"), "{c}::text", lambda value: str(int(value))),
    ValueType(
        "bit_8", "bit(8)", ("B'00000000'", "B'10000001'", "B'11111111'"), "{c}::text", lambda value: f"{value[0]:08b}"
    ),
    ValueType(
        "bit_10",
        "bit(10)",
        ("B'0000000001'", "B'1000000000'", "B'1111111111'"),
        "{c}::text",
        lambda value: f"{int.from_bytes(value, 'big'):010b}",
    ),
    ValueType("bits", "bit varying(12)", ("B''", "B'1'", "B'000000000001'", "B'101'"), _SHOWN),
    ValueType("span_int", "int4range", quoted("empty", "[1,5)", "(,5)", "(,)"), _SHOWN),
    ValueType("span_big", "int8range", quoted("empty", "[1,9223372036854775807)"), _SHOWN),
    ValueType("span_num", "numrange", quoted("empty", "[1.10,2]", "(,-1.5)"), _SHOWN),
    ValueType("span_ts", "tsrange", quoted("empty", "[2024-02-29 00:00:00.5,infinity)"), _SHOWN),
    ValueType("span_tz", "tstzrange", quoted("empty", "[2024-02-29 00:00:00.5+02,2024-03-01)"), _SHOWN),
    ValueType("span_day", "daterange", quoted("empty", "[2024-02-29,infinity)"), _SHOWN),
    ValueType("spans_int", "int4multirange", quoted("{}", "{[1,3), [5,7)}"), _SHOWN),
    ValueType("spans_day", "datemultirange", quoted("{}", "{[2024-02-29,2024-03-02)}"), _SHOWN),
    ValueType(
        "spot",
        "point",
        quoted("(0,0)", "(-1.5,2e100)"),
        "CASE WHEN {c} IS NOT NULL THEN concat(({c})[0], ',', ({c})[1]) END",
        lambda value: f"{value['x']:g},{value['y']:g}",
        key=False,
    ),
    ValueType("line_", "line", quoted("{1,-1,0}"), _SHOWN, key=False),
    ValueType("segment", "lseg", quoted("[(0,0),(1,2.5)]"), _SHOWN, key=False),
    ValueType("box_", "box", quoted("(1,2.5),(0,0)"), _SHOWN, key=False),
    ValueType("route", "path", quoted("[(0,0),(1,1)]", "((0,0),(1,1))"), _SHOWN, key=False),
    ValueType("shape", "polygon", quoted("((0,0),(1,1),(2,0))"), _SHOWN, key=False),
    ValueType("circle_", "circle", quoted("<(0,0),2.5>"), _SHOWN, key=False),
    ValueType("position", "pg_lsn", quoted("0/0", "16/B374D848"), _SHOWN),
    ValueType("seen", "pg_snapshot", quoted("10:20:10,14"), _SHOWN, key=False),
    ValueType("class_", "regclass", quoted("pg_class"), _SHOWN, key=False),
    ValueType(
        "labels",
        "{s}.hstore",
        quoted("", 'a=>1, b=>NULL, "c d"=>"q \\" ñ"'),
        "CASE WHEN {c} IS NOT NULL THEN {s}.hstore_to_json({c})::text END",
        pairs,
        pairs,
    ),
    ValueType("tree", "{s}.ltree", quoted("", "Top.Science.Astronomy"), _SHOWN),
    ValueType("mood", "{s}.mood", quoted("sad", "a,b", "it's", "ünï", "e\\f"), _SHOWN),
    ValueType(
        "pair_",
        "{s}.pair",
        ("ROW(1, 'a,b')::{s}.pair", "ROW(NULL, 'q \" '' ñ')::{s}.pair", "ROW(NULL, NULL)::{s}.pair"),
        _SHOWN,
    ),
    ValueType("positive", "{s}.positive", ("1", "2147483647"), _SHOWN),
    ValueType("price", "{s}.price", ("0", "-99999999.99", "1.50"), _SHOWN),
    ValueType("numbers", "integer[]", quoted("{}", "{1,NULL,-2147483648}"), _ITEMS, items(str), json.loads),
    ValueType("bigs", "bigint[]", quoted("{}", "{9223372036854775807,NULL}"), _ITEMS, items(str), json.loads),
    ValueType("smalls", "smallint[]", quoted("{}", "{-32768}"), _ITEMS, items(str), json.loads),
    ValueType(
        "words", "text[]", quoted("{}", '{a,"",NULL,"NULL","q \\" b \\\\ , {} 🚀"}'), _ITEMS, items(str), json.loads
    ),
    ValueType("codes", "char(3)[]", quoted("{}", "{a,abc}"), "array_to_json({c})::text", items(str), json.loads),
    ValueType("varchars", "varchar(5)[]", quoted("{}", "{a,ñ}"), _ITEMS, items(str), json.loads),
    ValueType(
        "flags", "boolean[]", quoted("{}", "{t,f,NULL}"), _ITEMS, items(lambda value: str(value).lower()), json.loads
    ),
    ValueType("prices", "numeric(10,2)[]", quoted("{}", "{1.50,-99999999.99,NULL}"), _ITEMS, items(str), json.loads),
    ValueType("exacts", "numeric[]", quoted("{}", "{1.50,1e40,NULL}"), _ITEMS, items(str), json.loads),
    ValueType(
        "ratios",
        "double precision[]",
        quoted("{}", "{0.1,NULL,-1.5}"),
        _ITEMS,
        items(lambda value: f"{value:g}"),
        json.loads,
    ),
    ValueType("singles", "real[]", quoted("{}", "{0.5,NULL}"), _ITEMS, items(lambda value: f"{value:g}"), json.loads),
    ValueType(
        "days", "date[]", quoted("{}", "{2024-02-29,NULL,0001-01-01,9999-12-31}"), _ITEMS, items(str), json.loads
    ),
    ValueType(
        "moments",
        "timestamp[]",
        quoted("{}", '{"2024-02-29 23:59:59.999999",NULL}'),
        _ITEMS,
        items(text_of_moment),
        json.loads,
    ),
    ValueType(
        "stamps",
        "timestamptz[]",
        quoted("{}", '{"2024-02-29 23:59:59.999999+02",NULL}'),
        _ITEMS,
        items(text_of_moment),
        json.loads,
    ),
    ValueType("clocks", "time[]", quoted("{}", "{23:59:59.999999,NULL}"), _ITEMS, items(str), json.loads),
    ValueType(
        "idents", "uuid[]", quoted("{}", "{0fa6a3a8-7e3e-4b36-9b3b-0c7e3a3b1c11,NULL}"), _ITEMS, items(str), json.loads
    ),
    ValueType(
        "blobs",
        "bytea[]",
        (r"'{}'", r"""'{"\\\\x00ff",NULL}'"""),
        _ITEMS,
        items(lambda value: "\\x" + bytes(value).hex()),
        json.loads,
    ),
    ValueType("docs", "jsonb[]", quoted("{}", '{"{\\"a\\": 1}",NULL}'), _ITEMS, items(str), json.loads),
    ValueType("hosts", "inet[]", quoted("{}", "{10.0.0.0/8,NULL}"), _ITEMS, items(str), json.loads),
    ValueType("moods", "{s}.mood[]", quoted("{}", '{sad,NULL,"a,b"}'), _ITEMS, items(str), json.loads),
    ValueType("ranges", "int4range[]", quoted("{}", '{"[1,5)",NULL}'), _ITEMS, items(str), json.loads),
    ValueType("spans", "interval[]", quoted("{}", '{"1 day",NULL}'), _ITEMS, items(str), json.loads),
    ValueType("cashes", "money[]", quoted("{}", "{$1.50,NULL}"), _ITEMS, items(str), json.loads),
    ValueType("trees", "{s}.ltree[]", quoted("{}", "{a.b,NULL}"), _ITEMS, items(str), json.loads),
    ValueType("bit_lists", "bit(3)[]", quoted("{}", "{101,NULL}"), _ITEMS, items(str), json.loads),
    ValueType(
        "zoneds",
        "timetz[]",
        quoted("{}", "{01:30:00+05:30,NULL}"),
        _ITEMS.replace("item::text", "(item AT TIME ZONE 'UTC')::time::text"),
        items(lambda value: value.removesuffix("Z")),
        json.loads,
    ),
    ValueType("oids", "oid[]", quoted("{}", "{4294967295,NULL}"), _ITEMS, items(str), json.loads),
    ValueType("macs", "macaddr[]", quoted("{}", "{08:00:2b:01:02:03,NULL}"), _ITEMS, items(str), json.loads),
    ValueType("spots", "point[]", quoted("{}", '{"(1,2)",NULL}'), _ITEMS, items(str), json.loads, key=False),
    ValueType("positives", "{s}.positive[]", quoted("{}", "{1,NULL}"), _ITEMS, items(str), json.loads),
    # Arrays of several dimensions have no type in Delta that the schema could tell in advance.
    ValueType("matrix", "integer[]", ("'[0:1]={5,6}'", Unsent("'{{1,2},{3,4}}'")), _ITEMS, items(str), json.loads),
    ValueType("grid", "text[]", ("'{a}'", Unsent("'{{a,NULL},{NULL,d}}'")), _ITEMS, items(str), json.loads),
    ValueType(
        "pairs_",
        "{s}.pair[]",
        ("'{}'", "ARRAY[ROW(1, 'a,b'), ROW(NULL, NULL)]::{s}.pair[]"),
        "(SELECT coalesce(json_agg(u::text), '[]')::text FROM unnest({c}) u HAVING {c} IS NOT NULL)",
        items(str),
        json.loads,
    ),
)
