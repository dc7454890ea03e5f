"""`python -m cdc_workstation.cli` is `cdc-workstation`."""

from __future__ import annotations

import sys

from cdc_workstation.cli import main

sys.exit(main())
