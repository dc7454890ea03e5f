"""Values that an event leaves out: a row of PostgreSQL does not carry a large value that did not change."""

from __future__ import annotations

import base64
from typing import Any

# A row of PostgreSQL whose large value did not change does not carry it.
UNAVAILABLE = "__debezium_unavailable_value"
_UNAVAILABLE_TEXTS = (
    UNAVAILABLE,
    base64.b64encode(UNAVAILABLE.encode()).decode(),
    f'{{"{UNAVAILABLE}":"{UNAVAILABLE}"}}',
)
# Arrays of text and of numbers, and hstore as a map.
_UNAVAILABLE_OTHERS = (
    [UNAVAILABLE],
    [_UNAVAILABLE_TEXTS[1]],
    list(UNAVAILABLE.encode()),
    [bit == "1" for byte in UNAVAILABLE.encode() for bit in f"{byte:08b}"],
    {UNAVAILABLE: UNAVAILABLE},
)
# What an event's bytes contain if one of its values was left out: to ask each value of each event would cost more.
UNAVAILABLE_BYTES = (
    UNAVAILABLE.encode(),
    base64.b64encode(UNAVAILABLE.encode()),
    ",".join(str(byte) for byte in UNAVAILABLE.encode()[:8]).encode(),
    # Arrays of numbers with a point, and of truth values.
    b"[95.",
    b"[false,true,false,true,true,true,true,true,",
)


def is_unavailable(raw: Any) -> bool:
    """Tell whether a value was left out by PostgreSQL because it did not change."""
    if isinstance(raw, str):
        return raw in _UNAVAILABLE_TEXTS
    return isinstance(raw, list | dict) and raw in _UNAVAILABLE_OTHERS
