"""The bench's own modules, which run as scripts."""

import sys
from pathlib import Path

# Last: the names of the container's modules come first.
sys.path.append(str(Path(__file__).resolve().parents[2] / "bench"))
