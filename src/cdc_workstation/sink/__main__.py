"""Run the sink: `python3 -m cdc_workstation.sink`."""

from __future__ import annotations

import logging
import sys

from cdc_workstation.sink.app import Sink
from cdc_workstation.sink.settings import SinkSettings


def main() -> int:
    """Run until it is stopped; return 1 where it cannot go on."""
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.INFO, stream=sys.stderr)
    logging.getLogger("py4j").setLevel(logging.WARNING)
    return Sink(SinkSettings.load()).run()


if __name__ == "__main__":
    sys.exit(main())
