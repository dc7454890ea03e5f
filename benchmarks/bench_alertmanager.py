"""How quickly Alertmanager takes an alert and gives it back."""

from __future__ import annotations

import statistics
import sys
import time
from uuid import uuid4

from cdc_workstation.clients.alertmanager import AlertmanagerClient
from cdc_workstation.settings import get_settings

ROUNDS = 500
WARM_UP = 50
TARGET_MS = 20.0


def bench_alertmanager(rounds: int = ROUNDS) -> list[tuple[str, float, str, str]]:
    """Post an alert and read it back, one after the other; return `(name, value, unit, target)` of each figure."""
    url = get_settings().alertmanager_url
    if url is None:
        sys.exit("the stack has no Alertmanager")
    times = []
    with AlertmanagerClient(url, labels={"environment": "test", "test_id": f"bench-{uuid4()}"}) as client:
        for number in range(WARM_UP + rounds):
            start = time.perf_counter()
            client.post_alert("Bench", severity="info")
            found = client.alerts()
            times.append((time.perf_counter() - start) * 1000)
            assert len(found) == 1, f"round {number} found {len(found)} alerts"
    measured = sorted(times[WARM_UP:])
    return [
        ("Alertmanager POST+GET p50", statistics.median(measured), "ms", ""),
        ("Alertmanager POST+GET p99", statistics.quantiles(measured, n=100)[98], "ms", f"< {TARGET_MS:g}"),
    ]


if __name__ == "__main__":
    for name, value, unit, target in bench_alertmanager():
        print(f"{name}: {value:.1f} {unit} {target}")
