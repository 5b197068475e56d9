# SPDX-License-Identifier: Apache-2.0
"""The Python process behind `python_worker`."""

import sys
from pathlib import Path

# Last, so that what is measured is what is installed, and not the checkout.
sys.path[0:1] = []
sys.path.append(str(Path(__file__).resolve().parents[2]))

from benchmarks.workers import serve  # noqa: E402  (the checkout is no package)

serve(sys.argv[1:])
