# SPDX-License-Identifier: Apache-2.0
"""`python -m ebpf_collector`, the same as the command `ebpf-collector`."""

import sys

__all__ = ["main"]


def main() -> int:
    """Run the command and return its exit code; Ctrl-C ends it quietly from the first moment."""
    try:
        from ebpf_collector.stop import signals_held

        # An interrupt in a callback of the import system would be printed and lost.
        with signals_held():
            from ebpf_collector.cli import main as run
        return run()
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
