# SPDX-License-Identifier: Apache-2.0
"""The command line: `python -m tests.vm.vmtest --kernel 6.1 -- COMMAND`."""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import signal
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import NoReturn

from .errors import TimeLimitError, VmtestError, note
from .guest import Guest, kept_variables
from .kernels import SUITES, Cache, default_cache, kernel_for
from .qemu import emulator_for
from .shares import Share

_EXIT_TIME_LIMIT = 124
_EXIT_NO_GUEST = 125
_EXIT_INTERRUPTED = 130


def main() -> int:
    """Return the exit status of the command in the guest, or one of our own."""
    options = _parser().parse_args()
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        return _run(options)
    except TimeLimitError as error:
        note(str(error))
        return _EXIT_TIME_LIMIT
    except VmtestError as error:
        note(str(error))
        return _EXIT_NO_GUEST
    except KeyboardInterrupt:
        return _EXIT_INTERRUPTED


def _run(options: argparse.Namespace) -> int:
    cache = Cache(options.cache)
    if options.list:
        for kernel in cache.all():
            print(f"{kernel.suite:10} {kernel.flavour:8} {kernel.release} ({kernel.version})")
        return 0
    if not options.kernel or not (options.command or options.fetch):
        raise VmtestError("start a guest: --kernel or COMMAND is missing. See --help.")
    if options.architecture == "arm64" and options.root == Path("/") and not options.fetch:
        raise VmtestError(
            "start a guest: an arm64 kernel runs no programs of this machine. Name an arm64 root by --root."
        )
    kernel = kernel_for(
        cache,
        options.kernel,
        flavour=options.flavour,
        mirror=options.mirror,
        update=options.update,
        architecture=options.architecture,
    )
    emulator = emulator_for(cache, mirror=options.mirror, architecture=options.architecture)
    if options.fetch:
        return 0
    with contextlib.ExitStack() as cleanup:
        console = cleanup.enter_context(options.console.open("wb", buffering=0)) if options.console else None

        def on_console(data: bytes) -> None:
            if console:
                console.write(data)
            if options.verbose:
                sys.stderr.buffer.write(data)
                sys.stderr.buffer.flush()

        return Guest(
            kernel,
            emulator,
            options.command,
            options.cwd,
            environment=_environment(options.env),
            shares=options.dir,
            modules=options.module,
            cgroup=options.cgroup,
            btf=not options.no_btf,
            headers=not options.no_headers,
            parameters=options.append,
            memory=options.memory,
            cpus=options.cpus,
            timeout_s=options.timeout,
            root=options.root,
            tty=options.tty,
            on_console=on_console,
        ).run()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="vmtest",
        usage="python -m tests.vm.vmtest --kernel SERIES [option ...] -- COMMAND [ARGUMENT ...]",
        description="Run COMMAND as root under another Linux kernel, in a QEMU guest that sees this machine's file "
        "system (read-only, below a scratch layer).",
        epilog="Exit status: the command's; 124: time limit; 125: no guest, or it died.",
    )
    add = parser.add_argument
    add("--kernel", metavar="SERIES", help=f"{', '.join(SUITES)}, another series, or a Debian suite")
    add("--flavour", choices=["cloud", "generic"], default="cloud", help="of the kernel (default: cloud)")
    add("--architecture", choices=["amd64", "arm64"], default="amd64", help="of the guest (default: amd64)")
    add(
        "--root", metavar="DIR", type=Path, default=Path("/"), help="what the guest sees as / (default: this machine's)"
    )
    add("--memory", metavar="SIZE", default="2G", help="of the guest (default: 2G)")
    add("--cpus", metavar="N", type=int, default=2, help="of the guest (default: 2)")
    add("--timeout", metavar="SECONDS", type=float, default=600, help="kill the guest then (default: 600)")
    add(
        "--dir",
        metavar="HOSTDIR:GUESTDIR[:rw]",
        type=_share,
        action="append",
        default=[],
        help="show a directory at another place; with :rw, write through to this machine",
    )
    add("--cwd", metavar="DIR", type=Path, default=Path.cwd(), help="where to run the command (default: here)")
    add("--env", metavar="NAME[=VALUE]", action="append", default=[], help="pass a variable on")
    add("--cgroup", choices=["v2", "v1"], default="v2", help="control group hierarchy (default: v2)")
    add("--no-btf", action="store_true", help="hide the kernel's type information")
    add("--no-headers", action="store_true", help="hide the kernel's headers")
    add("--module", metavar="NAME", action="append", default=[], help="load a kernel module first")
    add("--append", metavar="TEXT", default="", help="more kernel parameters")
    add("--tty", action="store_true", help="connect the command to this terminal (for a shell)")
    add("--verbose", "-v", action="store_true", help="show the guest's console on standard error")
    add("--console", metavar="FILE", type=Path, help="write the guest's console to FILE")
    add("--cache", metavar="DIR", type=_cache, default=default_cache(), help="default: $XDG_CACHE_HOME/vmtest")
    add("--update", action="store_true", help="look for a newer package of the kernel")
    add("--mirror", metavar="URI", help="Debian mirror (default: from this machine's APT sources)")
    add("--list", action="store_true", help="list the kernels in the cache, and stop")
    add("--fetch", action="store_true", help="download the kernel, and stop")
    add("command", metavar="COMMAND", nargs="*", help=argparse.SUPPRESS)
    return parser


def _cache(text: str) -> Path:
    path = Path(text).resolve()
    if re.match(r"/(dev|proc|run|sys)/|.*\s", str(path)):
        raise argparse.ArgumentTypeError("the guest must see it: not below /dev, /proc, /run or /sys, no white space")
    return path


def _share(text: str) -> Share:
    """Read HOSTDIR:GUESTDIR[:rw]."""
    machine, separator, rest = text.partition(":")
    guest, _, mode = rest.partition(":")
    if not separator or not guest.startswith("/") or mode not in ("", "rw"):
        raise argparse.ArgumentTypeError(f"{text!r} is not HOSTDIR:GUESTDIR or HOSTDIR:GUESTDIR:rw")
    directory = Path(machine).resolve()
    if not directory.is_dir():
        raise argparse.ArgumentTypeError(f"{machine!r} is not a directory")
    return Share(directory, Path(guest), mode == "rw")


def _environment(settings: Iterable[str]) -> dict[str, str]:
    environment = kept_variables()
    for setting in settings:
        name, separator, value = setting.partition("=")
        if separator:
            environment[name] = value
        elif name in os.environ:
            environment[name] = os.environ[name]
    return environment


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
