"""What spark-submit runs: the sink."""

import sys

from cdc_workstation.sink.__main__ import main

sys.exit(main())
