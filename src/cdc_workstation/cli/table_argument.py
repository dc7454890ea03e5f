"""How tables are named on the command line; light, because the shell loads it at each completion."""

from __future__ import annotations

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
    return [name for name in names if name.startswith(incomplete) or name.partition(".")[2].startswith(incomplete)]
