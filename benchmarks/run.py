#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Side by side with C over libbpf, with bcc, and with hand-written ctypes.

Contenders of a job run in turn, round by round, in warm processes or as fresh ones, so that a machine that slows down
slows all of them. Ratios are of the fastest rounds; the table shows medians beside them.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

# Last, so that what is measured is what is installed, and not the checkout.
sys.path.append(str(Path(__file__).resolve().parents[1]))

from benchmarks.jobs import JOBS, Options, job
from benchmarks.race import race
from benchmarks.table import as_json, as_text, write


def main() -> int:
    parser = argparse.ArgumentParser(prog="benchmarks/run.py", description="Compare with C libbpf, bcc and ctypes.")
    parser.add_argument("--jobs", nargs="+", choices=JOBS, default=list(JOBS), metavar="JOB", help=", ".join(JOBS))
    parser.add_argument("--rounds", type=int, default=9, help="rounds of each job, default 9")
    parser.add_argument("--entries", type=int, default=Options.entries, help="entries of the maps")
    parser.add_argument("--maps", type=int, default=Options.maps, help="maps of the inventory")
    parser.add_argument("--records", type=int, default=Options.records, help="records of the streams")
    parser.add_argument("--json", action="store_true", help="print one JSON object a job")
    parser.add_argument("--write", action="store_true", help="write the jobs' sections of docs/performance.md")
    parser.add_argument("--enforce", action="store_true", help="exit with 1 if a bar is missed or a run is void")
    options = parser.parse_args()
    if os.geteuid():
        print("benchmarks/run.py: loading programs needs root. Run it with sudo.", file=sys.stderr)
        return 3
    held = True
    for name in options.jobs:
        with job(name)(Options(options.entries, options.maps, options.records)) as made:
            result = race(made, options.rounds)
        print(json.dumps(as_json(name, result)) if options.json else f"\n{name}: {as_text(result)}", flush=True)
        if options.write:
            write(name, result)
        held = held and not result.void and all(ratio is None or ratio <= bar.ratio for bar, ratio in result.verdicts())
    return 0 if held or not options.enforce else 1


if __name__ == "__main__":
    sys.exit(main())
