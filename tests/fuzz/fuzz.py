#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Fuzz the readers of BTF and ELF: `python tests/fuzz/fuzz.py [--seconds S] [TARGET…]`, by default a minute for each.

With the package atheris new inputs are those that reach new code; without it bytes are changed at random. What a
target must not do with an input goes into tests/fuzz/findings, where make test tries it again for ever.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import importlib
import importlib.util
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

ROOT = Path(__file__).resolve().parents[2]
FINDINGS = Path(__file__).with_name("findings")
SEEDS = ROOT / "build" / "fuzz" / "seeds"
MEMORY_MB = 2048
sys.path[:0] = [str(ROOT / "tools"), str(ROOT)]

EPILOG = """\
examples:
  python tests/fuzz/fuzz.py                          every target for a minute
  python tests/fuzz/fuzz.py --seconds 3600 object    one for an hour

exit codes: 0 nothing found, 1 something found, 2 usage
"""


def main() -> int:
    parser = argparse.ArgumentParser(
        description="Fuzz the readers of BTF and ELF.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("targets", nargs="*", metavar="TARGET", help="names in tests/fuzz/targets.py; default all")
    parser.add_argument("--seconds", type=int, default=60, metavar="S", help="for each target, default 60")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)  # in a process of its own
    options = parser.parse_args()
    if options.inside:
        guided(options.targets[0], options.seconds)
    from tests.fuzz.targets import TARGETS

    for name in options.targets:
        if name not in TARGETS:
            parser.error(f"there is no target {name}; there are {', '.join(TARGETS)}")
    seeds = write_seeds()
    before = set(FINDINGS.iterdir())
    with_atheris = importlib.util.find_spec("atheris") is not None
    if not with_atheris:
        print("fuzz: atheris is not installed; bytes are changed at random instead.")
    for name in options.targets or TARGETS:
        print(f"==> {name}, {options.seconds} s, {seeds} seeds", flush=True)
        if with_atheris:
            # libFuzzer ends the process that finds something, and never returns from its main function.
            command = [sys.executable, __file__, "--inside", "--seconds", str(options.seconds), name]
            subprocess.run(command, check=False)
        else:
            at_random(name, options.seconds)
    found = sorted(set(FINDINGS.iterdir()) - before)
    for path in found:
        print(f"fuzz: found {path.relative_to(ROOT)}")
    return 1 if found else 0


def write_seeds() -> int:
    """Put objects to begin with into build/fuzz/seeds: made here, compiled by the build, and downloaded ones."""
    from tests.fuzz.targets import object_around

    SEEDS.mkdir(parents=True, exist_ok=True)
    found = [object_around(b"")]
    found += (path.read_bytes() for path in FINDINGS.iterdir())
    for pattern in ("build/**/*.bpf.o", "build/corpus/objects/*.o"):
        found += (path.read_bytes() for path in ROOT.glob(pattern) if path.stat().st_size < 1 << 16)
    for data in [*found, *(blob for image in found for blob in type_sections(image))]:
        (SEEDS / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)
    return len(list(SEEDS.iterdir()))


def type_sections(image: bytes) -> Iterator[bytes]:
    """Yield the sections of types of an object, the seeds of those targets that read nothing else."""
    from ebpf_codegen import elf
    from ebpf_codegen.errors import CodegenError

    try:
        sections = elf.parse(image, "seed").sections
    except CodegenError:
        return
    yield from (bytes(section.data) for section in sections if section.name in (".BTF", ".BTF.ext"))


def guided(name: str, seconds: int) -> None:
    """Let libFuzzer find inputs that reach new code; does not return."""
    atheris = importlib.import_module("atheris")  # which has no types

    with atheris.instrument_imports(include=["ebpf_codegen"]):
        from ebpf_codegen.errors import CodegenError
        from tests.fuzz.targets import SECONDS, TARGETS
    target = TARGETS[name]

    def one(data: bytes) -> None:
        started = time.process_time()
        with contextlib.suppress(CodegenError):
            target(data)
        if time.process_time() - started > 5 * SECONDS:  # instrumented code is slower
            raise TimeoutError(f"{time.process_time() - started:.1f} s for {len(data)} bytes")

    arguments = [
        sys.argv[0],
        str(SEEDS),
        f"-max_total_time={seconds}",
        f"-artifact_prefix={FINDINGS}/{name}-",
        f"-rss_limit_mb={MEMORY_MB}",
        "-max_len=65536",
        "-timeout=10",
        "-verbosity=0",
        "-print_final_stats=1",
    ]
    atheris.Setup(arguments, one)
    atheris.Fuzz()


def at_random(name: str, seconds: int) -> None:
    """Change bytes of seeds at random; the first finding ends it."""
    from ebpf_codegen.errors import CodegenError
    from tests.fuzz.targets import SECONDS, TARGETS

    def too_long(_number: int, _frame: FrameType | None) -> None:
        raise TimeoutError

    signal.signal(signal.SIGALRM, too_long)
    chance = random.Random(int.from_bytes(os.urandom(8), "little"))
    seeds = [path.read_bytes() for path in sorted(SEEDS.iterdir())]
    end = time.monotonic() + seconds
    runs = 0
    while time.monotonic() < end:
        data = bytearray(chance.choice(seeds))
        for _ in range(chance.randint(1, 8) if data else 0):
            data[chance.randrange(len(data))] = chance.choice((0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)))
        runs += 1
        signal.setitimer(signal.ITIMER_REAL, 5 * SECONDS)
        try:
            TARGETS[name](bytes(data))
        except CodegenError:
            pass
        except Exception as error:
            (FINDINGS / f"{name}-crash-{hashlib.sha256(data).hexdigest()[:40]}").write_bytes(data)
            print(f"fuzz: {type(error).__name__}: {error}")
            return
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    print(f"fuzz: {runs} inputs, nothing found")


if __name__ == "__main__":
    sys.exit(main())
