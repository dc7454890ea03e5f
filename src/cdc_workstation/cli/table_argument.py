"""How tables are named on the command line; light, because the shell loads it at each completion."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

TABLE_HELP = "products, cdcdb.products or mysql:cdcdb.products"


def complete(incomplete: str) -> list[str]:
    """Return the tables of the sink that begin so, for the shell; none if it does not answer at once."""
    import requests

    from cdc_workstation.cli.status_reading import tables_of
    from cdc_workstation.clients.sink import SinkClient
    from cdc_workstation.settings import get_settings

    settings = get_settings()
    if settings.delta_sink_url is None:
        return []
    try:
        with SinkClient(settings.delta_sink_url, timeout=1) as sink:
            names = [table.name for table in tables_of(sink.metrics(), {})]
    except requests.RequestException:
        return []
    return completions(names, incomplete)


def completions(names: Sequence[str], incomplete: str) -> list[str]:
    """Return what a name can go on to: whole names, and tables' own names that only one table has."""
    own = Counter(name.rpartition(".")[2] for name in names)
    return [
        name for name in (*names, *(one for one, count in own.items() if count == 1)) if name.startswith(incomplete)
    ]
