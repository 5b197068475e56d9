# SPDX-License-Identifier: Apache-2.0
"""`python -m ebpf_collector`, the same as the command `ebpf-collector`."""

import sys

__all__ = ["main"]


def main() -> int:
    """Run the command and return its exit code; Ctrl-C ends it quietly from the first moment."""
    try:
        import signal

        # An interrupt in a callback of the import system would be printed and lost.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
        try:
            from ebpf_collector.cli import main as run
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        return run()
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
