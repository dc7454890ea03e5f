"""Long comparisons of a source with its Delta tables, in a run of their own."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "suite"))
