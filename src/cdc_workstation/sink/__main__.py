"""Run the sink: `python3 -m cdc_workstation.sink`."""

from __future__ import annotations

import logging
import sys

from cdc_workstation.sink.service import Sink
from cdc_workstation.sink.settings import SinkSettings


def main() -> int:
    """Run until it is stopped; return 1 if it cannot go on."""
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.INFO, stream=sys.stderr)
    return Sink(SinkSettings.load()).run()


if __name__ == "__main__":
    sys.exit(main())
