# SPDX-License-Identifier: Apache-2.0
"""A shortage while loading is told as one, and never taken for a kernel that refuses the better variant."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import ebpf_runtime

# What a refusal imports: without file descriptors nothing can be imported.
from ebpf_runtime import EbpfError, LoadError, ProbeConfig, btf_sources, rare_errors, refusals, variants, verifier
from ebpf_runtime.libbpf import version
from ebpf_runtime.specs import architecture
from tests.support.files import free_files
from tests.support.sources import ROOT, add_loader_programs, make_module, write_source

pytestmark = pytest.mark.kernel

# The better variant takes more file descriptors than the other.
SOURCE = """
const volatile __u64 step = 1;

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} numbers SEC(".maps");

SEC("?raw_tp/sys_enter")
VARIANT(both)
int on_enter(void *ctx)
{
	return 0;
}

SEC("?raw_tp/sys_exit")
VARIANT(both)
VARIANT(one)
int on_exit(void *ctx)
{
	__u32 key = 0;
	__u64 *number = bpf_map_lookup_elem(&numbers, &key);

	if (number)
		*number += step;
	return 0;
}
"""
RAISE = "Raise this process's limit of open files (ulimit -n, LimitNOFILE=)."

LIBBPF = f"load probe 'short': EMFILE, too many open files; libbpf has to have 8 more. {RAISE}"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    assert all((btf_sources, rare_errors, refusals, variants, verifier))
    directory = tmp_path_factory.mktemp("shortages")
    module = make_module(directory, write_source(directory, "short", SOURCE))
    with module.Short.open_and_load() as probe:
        assert (probe.variant, probe.path) == ("both", "libbpf")
    return module


@pytest.fixture(scope="module")
def made_light(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    """The same with loader programs."""
    directory = tmp_path_factory.mktemp("light")
    module = make_module(directory, write_source(directory, "short", SOURCE))
    add_loader_programs(module)
    with module.Short.open_and_load() as probe:
        assert (probe.variant, probe.path) == ("both", "light")
    return module


def opening(prefix: str = "") -> list[str]:
    """Return what opening an object says: since 1.4 libbpf takes a file for each map then."""
    error = f"{prefix}load probe 'short': open object 'short': EMFILE, too many open files. {RAISE}"
    return [error] if version() >= (1, 4) else []


def object_of(made: ModuleType) -> Path:
    return Path(str(made.__file__)).with_name(f"short.{architecture()}.bpf.o")


def outcomes(made: ModuleType, config: ProbeConfig) -> dict[str, EbpfError | None]:
    """Load with ever more free file descriptors until it works; return the errors by their texts, None for success."""
    found: dict[str, EbpfError | None] = {}
    for free in range(40):
        try:
            with free_files(free), made.Short.open_and_load(config) as probe:
                found[probe.variant] = None
                assert probe.refused == ()
                return found
        except EbpfError as error:
            found[str(error)] = error
    return found


@pytest.mark.any_kernel
@pytest.mark.parametrize("fallback", [True, False], ids=["fallback", "no fallback"])
def test_too_few_file_descriptors_are_no_refusal_of_the_kernel(made: ModuleType, fallback: bool) -> None:
    """Neither a worse variant nor the compiler is taken: a warning of the fallback would be an error here."""
    found = outcomes(made, ProbeConfig(allow_runtime_compiled_fallback=fallback))
    assert [text for text, error in found.items() if error is None] == ["both"]
    errors = {text: error for text, error in found.items() if error is not None}
    assert {(type(error), error.errno) for error in errors.values()} == {(LoadError, 24)}
    assert all(text.startswith("load probe 'short': ") and text.endswith(f". {RAISE}") for text in errors)
    assert list(errors) == [
        f"load probe 'short': open {object_of(made)}: EMFILE, too many open files. {RAISE}",
        *opening(),
        LIBBPF,
    ]


@pytest.mark.any_kernel
def test_too_few_file_descriptors_for_a_loader_program(made_light: ModuleType) -> None:
    found = outcomes(made_light, ProbeConfig())
    assert list(found) == [
        f"load probe 'short': open {object_of(made_light)}: EMFILE, too many open files. {RAISE}",
        *opening(),
        LIBBPF,
        "both",
    ]


@pytest.mark.any_kernel
def test_a_btf_file_that_could_not_be_read_is_no_bad_one(made: ModuleType, tmp_path: Path) -> None:
    """The kernel's own BTF would do, and is not taken: it may not be the one that was wanted."""
    file = tmp_path / "good.btf"
    file.write_bytes(Path("/sys/kernel/btf/vmlinux").read_bytes())
    found = outcomes(made, ProbeConfig(btf_path=file))
    assert list(found) == [
        f"load probe 'short': read {file}: EMFILE, too many open files. {RAISE}",
        *opening(),
        LIBBPF,
        "both",
    ]


# Run in a process of its own: libbpf tests what the kernel has once a process.
FRESH = """
import importlib, json, mmap, pkgutil, sys
import ebpf_runtime
from ebpf_runtime import EbpfError, libbpf, libbpf_object
from ebpf_runtime.libbpf import version
from ebpf_runtime.specs import architecture
from tests.support.files import free_files

for item in pkgutil.iter_modules(ebpf_runtime.__path__):
    importlib.import_module(f"ebpf_runtime.{item.name}")
checked = libbpf.short_of_files
if sys.argv[2] == "unchecked":  # as when another thread takes what was free a moment before
    libbpf_object.short_of_files = lambda count: 0
module = importlib.import_module(sys.argv[1])
said = []

def load():
    try:
        with module.Short.open_and_load() as probe:
            said.append(f"loaded {probe.variant}, refused {len(probe.refused)}")
    except EbpfError as error:
        said.append(f"{type(error).__name__} {error.errno} {error}")

for free in range(20):
    with free_files(free):
        load()
    if libbpf.detections:
        break
libbpf_object.short_of_files = checked
load()
print(json.dumps(said))
"""


def in_a_fresh_process(made: ModuleType, code: str, *arguments: str) -> str:
    """Run code, with the module's name as its first argument; return what it prints."""
    places = [str(Path(str(made.__file__)).parents[1]), *filter(None, sys.path), str(ROOT)]
    done = subprocess.run(
        [sys.executable, "-P", "-W", "error", "-c", code, made.__name__, *arguments],
        capture_output=True, text=True, check=False, env={"PYTHONPATH": ":".join(places)},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def said_in_a_fresh_process(made: ModuleType, how: str) -> list[str]:
    said: list[str] = json.loads(in_a_fresh_process(made, FRESH, how))
    return said


@pytest.mark.any_kernel
def test_libbpf_never_tests_the_kernel_while_files_are_short(made: ModuleType) -> None:
    """What a process could not load it loads once files are free again."""
    *short, last = said_in_a_fresh_process(made, "checked")
    assert last == "loaded both, refused 0"
    assert list(dict.fromkeys(line for line in short if line not in opening("LoadError 24 "))) == [
        f"LoadError 24 load probe 'short': open {object_of(made)}: EMFILE, too many open files. {RAISE}",
        f"LoadError 24 {LIBBPF}",
        last,
    ]


@pytest.mark.any_kernel
def test_what_libbpf_could_not_test_is_told_with_the_only_way_out(made: ModuleType) -> None:
    *_, first, later = said_in_a_fresh_process(made, "unchecked")
    assert (
        first
        == later
        == (
            "LoadError 24 load probe 'short': EMFILE, too many open files, when libbpf tested the kernel for global "
            f"variables, which it takes for missing from now on. Restart this process. {RAISE}"
        )
    )


# Run in a process of its own: what it has to import it cannot while no file can be opened.
UNREAD = """
import importlib, os, sys
from tests.support.files import free_files

module = importlib.import_module(sys.argv[1])

def said(action):
    with free_files(0):
        try:
            action()
        except Exception as error:
            print(type(error).__name__, error)

said(module.Short.open)
for variant in ("", "one"):
    opened = module.Short.open()
    if variant:
        opened.select_variant(variant)
    said(opened.load)
    with opened.load() as probe:
        print(f"loaded {probe.variant}, refused {len(probe.refused)}")
probe = module.Short.open_and_load().attach()
fds = [item.fd for _, item in (*probe.maps, *probe.programs, *probe.links)]
os.close(probe.links.on_exit.fd)
said(probe.close)
print(*(fd for fd in fds if os.path.exists(f"/proc/self/fd/{fd}")))
"""


@pytest.mark.any_kernel
def test_what_cannot_be_imported_is_told_as_a_shortage_and_everything_is_freed_all_the_same(made: ModuleType) -> None:
    files = Path(ebpf_runtime.__path__[0])
    assert in_a_fresh_process(made, UNREAD).splitlines() == [
        *(
            line
            for file, loaded in (("loader", ""), ("choice", "both"), ("variants", "one"))
            for line in (
                f"LoadError load probe 'short': open {files / file}.py: EMFILE, too many open files. {RAISE}",
                *([f"loaded {loaded}, refused 0"] if loaded else []),
            )
        ),
        "CloseError close probe 'short': detach program 'on_exit': EBADF, bad file descriptor.",
        "",
    ]
