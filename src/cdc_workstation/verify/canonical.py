"""The canonical text of one value as its source gives it, for each kind of value."""

from __future__ import annotations

import json
import re
import struct
from datetime import datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

# Canonical text, or None for NULL.
Value = str | None
MICROS_PER_DAY = 86_400_000_000
EPOCH = datetime(1970, 1, 1)
MICROSECOND = timedelta(microseconds=1)
_FIRST = (datetime.min - EPOCH) // MICROSECOND
_LAST = (datetime.max - EPOCH) // MICROSECOND
_WORDS = re.compile(r"([-+]?\d+) (year|mon|day)")
_CLOCK = re.compile(r"([-+]?)(\d+):(\d+):(\d+(?:\.\d+)?)")
_PART = re.compile(r"([-+]?\d+(?:\.\d+)?)([YMWDHS])")


def number_text(text: str) -> str:
    """Write a number without an exponent, and without zeros at its end."""
    # Most numbers are plain, and their text needs no arithmetic.
    if text.isdigit() and text[0] != "0":
        return text
    whole, point, fraction = text.partition(".")
    if point and whole.isdigit() and fraction.isdigit() and (whole[0] != "0" or whole == "0"):
        fraction = fraction.rstrip("0")
        return f"{whole}.{fraction}" if fraction else whole
    try:
        return str(int(text))
    except ValueError:
        pass
    try:
        value = Decimal(text)
    except InvalidOperation:
        return text
    if not value.is_finite():
        return str(value).replace("sNaN", "NaN")
    # Not `normalize`, which rounds to the context's precision.
    plain = format(value, "f")
    if "." in plain:
        plain = plain.rstrip("0").rstrip(".")
    return "0" if plain == "-0" else plain


def float_text(value: Any) -> str:
    """Write a floating-point number; -0.0 is 0.0."""
    try:
        return repr(float(value) + 0.0)
    except (TypeError, ValueError):
        return str(value)


# JSON is read and written in C. Numbers are marked text on the way, so that they keep all their digits.
MARK = "\0"
MARKED = re.compile(r'"\\u0000([^"]*)"')


def _marked(text: str) -> str:
    return MARK + number_text(text)


decode = json.JSONDecoder(parse_float=_marked, parse_int=_marked, parse_constant=_marked).decode
encode = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode


def json_text(text: str) -> str:
    """Write a JSON document with its keys sorted, and numbers by their value."""
    try:
        return MARKED.sub(r"\1", encode(decode(text)))
    except ValueError:
        return text


def document_text(value: Any) -> str:
    """Write a value of Python's as a JSON document."""
    return json_text(json.dumps(value, default=str))


def bytes_text(value: str | bytes) -> str:
    """Write bytes in hexadecimal."""
    # PostgreSQL prints bytea as \x and hexadecimal digits.
    return value[2:] if isinstance(value, str) else bytes(value).hex()


def bits_text(value: str | bytes) -> str:
    """Write bits as the number that they are."""
    return str(int(value, 2) if isinstance(value, str) else int.from_bytes(value, "big")) if value else "0"


def finite_text(text: str) -> Value:
    """Write a number; `None` for one that is not finite."""
    number = number_text(text)
    return None if number.lstrip("-") in ("NaN", "Infinity") else number


def moment_text(text: str) -> Value:
    """Return microseconds since the epoch.

    `None` for what Delta has no place for and has NULL instead: days that no calendar has, such as MySQL's 2024-00-15,
    years outside of 1 to 9999, infinity. PostgreSQL is asked for the microseconds themselves.
    """
    if "-" not in text[1:]:
        number = finite_text(text)
        return number if number is not None and _FIRST <= int(number) <= _LAST else None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return str(((moment if moment.tzinfo is None else moment.replace(tzinfo=None)) - EPOCH) // MICROSECOND)


def time_text(text: str) -> str:
    """Write a time of day, or MySQL's longer TIME, without zeros at the end of its fraction."""
    return text.rstrip("0").rstrip(".") if "." in text else text


def timetz_text(text: str) -> str:
    """Return a time of day in UTC."""
    try:
        found = time.fromisoformat(text)
    except ValueError:
        return text
    micros = ((found.hour * 60 + found.minute) * 60 + found.second) * 1_000_000 + found.microsecond
    return str((micros - (found.utcoffset() or timedelta()) // MICROSECOND) % MICROS_PER_DAY)


def interval_text(text: str) -> str:
    """Return months, days and microseconds of an interval.

    It is an ISO 8601 duration, whose parts may each have a sign, or as PostgreSQL writes it by default.
    """
    if not text.startswith("P"):
        return _interval_in_words(text)
    date_part, _, time_part = text.removeprefix("P").partition("T")
    months = days = Decimal(0)
    for amount, unit in _PART.findall(date_part):
        number = Decimal(amount)
        months += {"Y": 12 * number, "M": number}.get(unit, Decimal(0))
        days += {"D": number, "W": 7 * number}.get(unit, Decimal(0))
    seconds = sum(
        (Decimal(amount) * {"H": 3600, "M": 60, "S": 1}[unit] for amount, unit in _PART.findall(time_part)), Decimal(0)
    )
    return f"{number_text(str(months))}:{number_text(str(days))}:{number_text(str(seconds * 1_000_000))}"


def _interval_in_words(text: str) -> str:
    """Return the same of `1 year 2 mons -3 days +04:05:06.7`."""
    found = {unit: Decimal(amount) for amount, unit in _WORDS.findall(text)}
    zero = Decimal(0)
    seconds = zero
    clock = _CLOCK.search(text)
    if clock is not None:
        sign, hours, minutes, rest = clock.groups()
        seconds = (int(hours) * 60 + int(minutes)) * 60 + Decimal(rest)
        seconds = -seconds if sign == "-" else seconds
    elif not found:
        return text
    months = 12 * found.get("year", zero) + found.get("mon", zero)
    return (
        f"{number_text(str(months))}:{number_text(str(found.get('day', zero)))}:{number_text(str(seconds * 1_000_000))}"
    )


def geometry_text(value: bytes) -> str:
    """Return SRID and well-known binary: MySQL's own format is the SRID in four bytes, then WKB."""
    return f"{int.from_bytes(value[:4], 'little')}:{value[4:].hex()}"


def point_text(text: str) -> str:
    """Write PostgreSQL's point."""
    return ",".join(float_text(part) for part in text.strip("()").split(","))


def vector_text(value: bytes) -> str:
    """Write MySQL's vector as a JSON array."""
    return document_text(struct.unpack(f"<{len(value) // 4}f", value))
