# SPDX-License-Identifier: Apache-2.0
"""bcc compiles the program of its own tcptop, under the distribution's Python: tcptop_bcc.py TCPTOP.

Its functions get names that bcc does not attach, so that it loads no kprobe, of which a kernel may have none.
"""

import re
import subprocess
import sys
import time
from importlib import import_module


def main() -> None:
    bcc = import_module("bcc")
    text = subprocess.run([sys.argv[1], "--ebpf"], check=True, capture_output=True, text=True).stdout
    text = re.sub(r"\bk(ret)?probe__", r"k\1compiled__", text)
    print("ready", flush=True)
    for _ in sys.stdin:
        started = time.perf_counter()
        bcc.BPF(text=text)
        print(f"{time.perf_counter() - started:.9f} 0", flush=True)


if __name__ == "__main__":
    main()
