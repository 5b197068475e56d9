# SPDX-License-Identifier: Apache-2.0
"""A shortage while loading is told as one, and never taken for a kernel that refuses the better variant."""

from __future__ import annotations

from types import ModuleType

import pytest

# What a refusal imports: without file descriptors nothing can be imported.
from ebpf_runtime import EbpfError, LoadError, ProbeConfig, host_errors, refusals, variants, verifier
from tests.support.files import free_files
from tests.support.sources import make_module, write_source

pytestmark = pytest.mark.kernel

# The better variant takes more file descriptors than the other.
SOURCE = """
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
	return 0;
}
"""
RAISE = "Raise this process's limit of open files (ulimit -n, LimitNOFILE=)."


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    assert all((host_errors, refusals, variants, verifier))
    directory = tmp_path_factory.mktemp("shortages")
    module = make_module(directory, write_source(directory, "short", SOURCE))
    with module.Short.open_and_load() as probe:
        assert probe.variant == "both"
    return module


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
    assert {
        f"load probe 'short': load program 'on_enter': EMFILE, too many open files. {RAISE}",
        f"load probe 'short': load program 'on_exit': EMFILE, too many open files. {RAISE}",
        f"load probe 'short': attach program 'on_enter' to raw_tp/sys_enter: EMFILE, too many open files. {RAISE}",
        f"load probe 'short': attach program 'on_exit' to raw_tp/sys_exit: EMFILE, too many open files. {RAISE}",
    } <= set(errors)
