# SPDX-License-Identifier: Apache-2.0
"""`python -m ebpf_collector`, the same as the command `ebpf-collector`."""

import sys

from ebpf_collector.cli import main

if __name__ == "__main__":
    sys.exit(main())
