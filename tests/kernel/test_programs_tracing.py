# SPDX-License-Identifier: Apache-2.0
"""Kinds that trace the kernel and user-space programs: each counts what this process does, and reads its cookie."""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ebpf_codegen.compiler import find_compiler
from ebpf_runtime import AttachError, CoReError, EbpfError, KprobeMultiProgram, ProbeConfig, UprobeMultiProgram
from ebpf_runtime.elf_symbols import functions
from tests.support.kernel import kprobe_refusal, release, tracing_refusal
from tests.support.programs import COUNTERS, GETPPID, load_mine, skip_if_missing, skip_without_cookies
from tests.support.sources import make_module, write_source

pytestmark = pytest.mark.kernel

NO_FALLBACK = ProbeConfig(allow_runtime_compiled_fallback=False)

# The last cookie each program saw, beside how often it ran.
COOKIES = (
    COUNTERS
    + """
__u64 cookies[8];

static __always_inline int note(void *ctx, __u32 index)
{
	if (bpf_get_current_pid_tgid() >> 32 != wanted_pid)
		return 0;
	cookies[index] = bpf_get_attach_cookie(ctx);
	return count(index);
}
"""
)

LIBRARY = r"""
#define PLACE(number, name, argument)                                                          \
	__asm__ volatile("990: nop\n"                                                          \
                         ".pushsection .note.stapsdt,\"\",\"note\"\n"                          \
                         ".balign 4\n.4byte 992f-991f, 994f-993f, 3\n"                         \
                         "991: .asciz \"stapsdt\"\n992: .balign 4\n"                           \
                         "993: .8byte 990b, _.stapsdt.base, 0\n"                               \
                         ".asciz \"shop\"\n.asciz \"" name "\"\n.asciz \"-4@%0\"\n994: .balign 4\n" \
                         ".popsection\n"                                                       \
                         ".ifndef _.stapsdt.base\n"                                            \
                         ".pushsection .stapsdt.base,\"aG\",\"progbits\",.stapsdt.base,comdat\n" \
                         ".weak _.stapsdt.base\n.hidden _.stapsdt.base\n"                      \
                         "_.stapsdt.base: .space 1\n.size _.stapsdt.base, 1\n.popsection\n.endif\n" \
                         : : "nor"(argument))

__attribute__((noinline)) int shop_buy(int count) { PLACE(1, "sold", count); return count + 1; }
__attribute__((noinline)) int shop_sell(int count) { PLACE(2, "sold", count); return count + 2; }
__attribute__((noinline)) int shop_close(int count) { __asm__ volatile(""); return count + 3; }
"""

needs_kprobes = pytest.mark.skipif(bool(kprobe_refusal()), reason=kprobe_refusal())
needs_trampolines = pytest.mark.skipif(bool(tracing_refusal()), reason=tracing_refusal())


@pytest.fixture
def made(tmp_path: Path) -> Callable[[str], Any]:
    """Give a function that makes a probe of C text and opens it."""

    def make(code: str) -> Any:
        return make_module(tmp_path, write_source(tmp_path, "traced", code)).Traced.open(NO_FALLBACK)

    return make


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A library of three functions, two of which have a place of the probe shop:sold, loaded into this process."""
    folder = tmp_path_factory.mktemp("shop")
    source, library = folder / "shop.c", folder / "libshop.so"
    source.write_text(LIBRARY)
    clang = [*find_compiler().command]
    subprocess.run([*clang, "-O1", "-g", "-shared", "-fPIC", "-nostdlib", "-o", library, source], check=True)
    return SimpleNamespace(path=library, functions=ctypes.CDLL(str(library)))


@contextmanager
def counted(probe: Any, index: int) -> Iterator[Callable[[], int]]:
    before = probe.maps.runs[index]
    yield lambda: probe.maps.runs[index] - before


def _sleep(times: int) -> None:
    for _ in range(times):
        time.sleep(0.001)


def assert_built_without(error: AttachError, text: str) -> None:
    """Fail unless a kernel of any age says that it was built without; skip where it is too old."""
    if error.errno != errno.EOPNOTSUPP:
        skip_if_missing(error)
    assert str(error) == text


def load_or_skip(opened: Any, floor: str) -> Any:
    """Load what reads its cookie; skip where the verifier says that such programs have none, as from *floor* on."""
    try:
        return load_mine(opened)
    except CoReError as error:
        skip_without_cookies(error.log, "programs of this kind", floor)
        raise


@pytest.mark.parametrize(
    ("section", "condition", "floor"),
    [
        ("tp/syscalls/sys_enter_getppid", "1", "5.15"),
        ("raw_tp/sys_enter", "((__u64 *)ctx)[1] == CALL", "6.10"),
        ("raw_tp.w/sys_enter", "((__u64 *)ctx)[1] == CALL", "6.10"),
        ("tp_btf/sys_enter", "((__u64 *)ctx)[1] == CALL", "6.10"),
    ],
)
def test_cookies_of_tracepoints(made: Callable[[str], Any], section: str, condition: str, floor: str) -> None:
    condition = condition.replace("CALL", str(GETPPID))
    code = COOKIES + f'SEC("{section}")\nint on_call(void *ctx) {{ return {condition} ? note(ctx, 0) : 0; }}\n'
    with load_or_skip(made(code), floor) as probe, counted(probe, 0) as count:
        seen = []
        for cookie in (0x1122334455667788, 0, 3):
            link = probe.programs.on_call.attach(cookie=cookie)
            os.getppid()
            link.detach()
            seen.append(probe.bss.cookies[0])
        assert (seen, count()) == ([0x1122334455667788, 0, 3], 3)


def test_a_cookie_that_the_kernel_does_not_take_names_the_kernel_that_does(made: Callable[[str], Any]) -> None:
    code = 'SEC("tp/syscalls/sys_enter_getppid")\nint first(void *ctx) { return 0; }\n'
    code += 'SEC("raw_tp/sys_enter")\nint second(void *ctx) { return 0; }\n'
    with made(code).load() as probe:
        for name, section, kind, floor in (
            ("first", "tp/syscalls/sys_enter_getppid", "tp", (5, 15)),
            ("second", "raw_tp/sys_enter", "raw_tp", (6, 10)),
        ):
            if release() >= floor:
                getattr(probe.programs, name).attach(cookie=5).detach()
                continue
            with pytest.raises(AttachError) as caught:
                getattr(probe.programs, name).attach(cookie=5)
            assert str(caught.value) == (
                f"attach program '{name}' to {section}: EINVAL, invalid argument; this kernel has no cookies of {kind} "
                f"programs, Linux {floor[0]}.{floor[1]} has."
            )
            assert caught.value.minimum_kernel == f"{floor[0]}.{floor[1]}"


@pytest.mark.parametrize("cookie", [-1, 1 << 64])
@pytest.mark.parametrize("section", ["raw_tp/sys_enter", "uprobe//proc/self/exe:main"])
def test_a_cookie_has_64_bits(made: Callable[[str], Any], section: str, cookie: int) -> None:
    with made(f'SEC("{section}")\nint first(void *ctx) {{ return 0; }}\n').load() as probe:
        with pytest.raises(AttachError) as caught:
            probe.programs.first.attach(cookie=cookie)
        assert str(caught.value) == (
            f"attach program 'first' to {section}: cookie {cookie} is not from 0 to {(1 << 64) - 1}."
        )


def test_the_offset_of_a_section_is_a_number(made: Callable[[str], Any]) -> None:
    with made('SEC("uprobe//proc/self/exe:main+ten")\nint first(void *ctx) { return 0; }\n').load() as probe:
        with pytest.raises(AttachError) as caught:
            probe.programs.first.attach()
        assert str(caught.value) == (
            "attach program 'first' to uprobe//proc/self/exe:main+ten: the section's offset 'ten' is no number. "
            "Say where: attach(path=..., symbol=..., offset=...)."
        )


def test_what_has_no_cookie_says_so(made: Callable[[str], Any]) -> None:
    with made('SEC("iter/bpf_map")\nint walk(void *ctx) { return 0; }\n').load() as probe:
        with pytest.raises(AttachError) as caught:
            probe.programs.walk.attach(cookie=1)
        assert str(caught.value) == (
            "attach program 'walk' to iter/bpf_map: programs of section iter have no cookie. Attach it without."
        )
        probe.programs.walk.attach().detach()


def test_the_cookie_of_a_perf_event(made: Callable[[str], Any]) -> None:
    code = COOKIES + 'SEC("perf_event")\nint on_tick(void *ctx) { return note(ctx, 0); }\n'
    with load_or_skip(made(code), "5.15") as probe, counted(probe, 0) as count:
        probe.programs.on_tick.attach(frequency=1000, pid=os.getpid(), cookie=77)
        while not count():
            sum(range(10_000))
        assert probe.bss.cookies[0] == 77


@needs_kprobes
def test_kprobes_and_their_cookies(made: Callable[[str], Any]) -> None:
    code = (
        COOKIES
        + """
SEC("kprobe/hrtimer_nanosleep")
int enter(void *ctx) { return note(ctx, 0); }

SEC("kretprobe/hrtimer_nanosleep")
int leave(void *ctx) { return note(ctx, 1); }

SEC("ksyscall/getppid")
int call(void *ctx) { return note(ctx, 2); }

SEC("kretsyscall/getppid")
int answer(void *ctx) { return note(ctx, 3); }
"""
    )
    with load_or_skip(made(code), "5.15") as probe:
        for number, program in enumerate(("enter", "leave", "call", "answer")):
            getattr(probe.programs, program).attach(cookie=11 + number)
        _sleep(5)
        for _ in range(7):
            os.getppid()
        assert [probe.maps.runs[index] for index in range(4)] == [5, 5, 7, 7]
        assert list(probe.bss.cookies)[:4] == [11, 12, 13, 14]
        probe.detach()
        _sleep(1)
        os.getppid()
        probe.attach()
        _sleep(1)
        os.getppid()
        assert [probe.maps.runs[index] for index in range(4)] == [6, 6, 8, 8]
        assert list(probe.bss.cookies)[:4] == [0, 0, 0, 0]


MULTI = (
    COOKIES
    + """
SEC("kprobe.multi/hrtimer_nanoslee?")
int by_section(void *ctx) { return note(ctx, 0); }

SEC("kprobe.multi")
int enter(void *ctx) { return note(ctx, 1); }

SEC("kretprobe.multi")
int leave(void *ctx) { return note(ctx, 2); }
"""
)


def test_kprobes_on_many_functions(made: Callable[[str], Any]) -> None:
    with load_or_skip(made(MULTI), "5.15") as probe:
        programs = probe.programs
        assert type(programs.enter) is KprobeMultiProgram
        assert probe.unattached == dict.fromkeys(("enter", "leave"), "pattern, symbols or addresses")
        with pytest.raises(AttachError) as caught:
            programs.enter.attach()
        assert str(caught.value) == (
            "attach program 'enter' to kprobe.multi: say one of pattern=, symbols= and addresses=."
        )
        with pytest.raises(AttachError) as caught:
            programs.enter.attach(symbols=["hrtimer_nanosleep"], cookies=[1, 2])
        assert str(caught.value) == (
            "attach program 'enter' to kprobe.multi: 2 cookies do not go with 1 functions. "
            "Give each function its own, in the same order."
        )
        try:
            programs.enter.attach(symbols=["hrtimer_nanosleep", "kernel_clone"], cookies=[51, 52])
        except AttachError as error:
            assert_built_without(
                error,
                "attach program 'enter' to hrtimer_nanosleep, kernel_clone: ENOTSUP, operation not supported; "
                "this kernel has no kprobes on many functions at once (CONFIG_FPROBE), Linux 5.18 has.",
            )
            return
        addresses = [
            int(words[0], 16)
            for words in map(str.split, Path("/proc/kallsyms").read_text().splitlines())
            if words[2] == "hrtimer_nanosleep"
        ]
        programs.leave.attach(addresses=addresses, cookies=[53])
        link = programs.by_section.attach()
        _sleep(3)
        assert [probe.maps.runs[index] for index in range(3)] == [3, 3, 3]
        assert list(probe.bss.cookies)[:3] == [0, 51, 53]
        subprocess.run(["true"], check=True)  # clones this process
        assert (probe.maps.runs[1], probe.bss.cookies[1]) == (4, 52)
        link.detach()
        link = programs.by_section.attach(pattern="hrtimer_nanosleep*")
        _sleep(2)
        assert [probe.maps.runs[index] for index in range(3)] == [5, 6, 5]
        with pytest.raises(AttachError, match=r"^attach program 'enter' to no_such_function_\*: ENOENT, no such file"):
            programs.enter.attach(pattern="no_such_function_*")
        with pytest.raises(AttachError, match=r"^attach program 'enter' to no_such_function: E(NOENT|INVAL), "):
            programs.enter.attach(symbols=["no_such_function"])


def test_a_session_on_functions_of_the_kernel(made: Callable[[str], Any]) -> None:
    code = COUNTERS + 'SEC("kprobe.session")\nint both(void *ctx) { count_mine(0); return 0; }\n'
    with load_mine(made(code)) as probe:
        if kprobe_refusal():
            with pytest.raises(AttachError) as caught:
                probe.programs.both.attach(pattern="hrtimer_nanoslee*")
            assert str(caught.value) == (
                "attach program 'both' to hrtimer_nanoslee*: ENOENT, no such file or directory; "
                "this kernel has no kprobe sessions (CONFIG_FPROBE), Linux 6.10 has."
            )
            return
        try:
            probe.programs.both.attach(pattern="hrtimer_nanoslee*")
        except AttachError as error:
            assert_built_without(
                error,
                "attach program 'both' to hrtimer_nanoslee*: ENOTSUP, operation not supported; "
                "this kernel has no kprobe sessions (CONFIG_FPROBE), Linux 6.10 has.",
            )
            return
        _sleep(4)
        assert probe.maps.runs[0] == 8  # each at its begin and at its return


TRAMPOLINES = (
    COOKIES
    + """
SEC("fentry/hrtimer_nanosleep")
int enter(void *ctx) { return note(ctx, 0); }

SEC("fexit/hrtimer_nanosleep")
int leave(void *ctx) { return note(ctx, 1); }
"""
)


@needs_trampolines
def test_trampolines_and_their_cookies(made: Callable[[str], Any]) -> None:
    with load_or_skip(made(TRAMPOLINES), "5.19") as probe:
        probe.programs.enter.attach(cookie=21)
        probe.programs.leave.attach(cookie=22)
        _sleep(5)
        probe.detach()
        _sleep(1)
        assert [probe.maps.runs[index] for index in range(2)] == [5, 5]
        assert list(probe.bss.cookies)[:2] == [21, 22]


REFUSERS = (
    COUNTERS
    + """
SEC("SECTION")
int refuse(__u64 *ctx)
{
	if (bpf_get_current_pid_tgid() >> 32 != wanted_pid)
		return 0;
	count(0);
	return -1; /* EPERM */
}
"""
)


@needs_trampolines
@pytest.mark.parametrize("section", ["fmod_ret/security_task_getpgid", "lsm/task_getpgid"])
def test_a_program_forbids(made: Callable[[str], Any], section: str) -> None:
    mine = os.getpid()
    with load_mine(made(REFUSERS.replace("SECTION", section))) as probe:
        active = security_modules()
        if section.startswith("lsm") and "bpf" not in active.split(","):  # as Debian's kernels before 6.1 are booted
            with pytest.raises(AttachError) as caught:
                probe.programs.refuse.attach()
            assert str(caught.value) == (
                f"attach program 'refuse' to {section}: the kernel runs no LSM programs, it was booted with "
                f"lsm={active}. Boot it with lsm={active},bpf."
            )
            return
        link = probe.programs.refuse.attach()
        for _ in range(3):
            with pytest.raises(PermissionError):
                os.getpgid(mine)
        link.detach()
        assert os.getpgid(mine) == os.getpgrp()
        assert probe.maps.runs[0] == 3


def security_modules() -> str:
    """Return the active security modules; mounts what lists them."""
    listed = Path("/sys/kernel/security/lsm")
    if not listed.exists():
        subprocess.run(["mount", "-t", "securityfs", "none", listed.parent], check=True)
    return listed.read_text().strip()


@needs_trampolines
def test_lsm_programs_of_a_cgroup(made: Callable[[str], Any], cgroup: Path) -> None:
    code = (
        COUNTERS
        + """
SEC("lsm_cgroup/socket_create")
int create(__u64 *ctx)
{
	count(0);
	return ctx[0] != 16; /* AF_NETLINK is forbidden */
}
"""
    )
    try:
        probe = load_mine(made(code))
    except CoReError as error:
        cause = error.__cause__
        assert isinstance(cause, EbpfError)
        assert (cause.feature, cause.minimum_kernel) == ("LSM programs of cgroups", "6.0")
        pytest.skip("the kernel has no LSM programs of cgroups (before 6.0)")
    with probe:
        security_modules()
        link = probe.programs.create.attach(cgroup=cgroup)
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM).close()
        with pytest.raises(PermissionError):
            socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)
        assert probe.maps.runs[0] == 2
        link.detach()
        socket.socket(socket.AF_NETLINK, socket.SOCK_RAW).close()
        assert probe.maps.runs[0] == 2


@needs_trampolines
def test_a_program_in_the_place_of_a_function(made: Callable[[str], Any], tmp_path: Path) -> None:
    target = """
struct xdp_md {
	__u32 data;
	__u32 data_end;
};

__attribute__((noinline)) int verdict(struct xdp_md *ctx)
{
	volatile int pass = 2;

	return ctx ? pass : 0;
}

SEC("xdp")
int ask(struct xdp_md *ctx) { return verdict(ctx); }
"""
    other = (
        target[: target.index("__attribute__")]
        + """
SEC("freplace/verdict")
int drop(struct xdp_md *ctx) { return 1; }
"""
    )
    first = make_module(tmp_path, write_source(tmp_path, "asked", target))
    with first.Asked.open_and_load() as asked:
        packet = bytes(64)
        assert asked.programs.ask.test_run(data=packet).return_value == 2
        opened = made(other)
        opened.set_target("drop", asked.programs.ask, "verdict")
        with opened.load() as probe:
            link = probe.programs.drop.attach()
            assert asked.programs.ask.test_run(data=packet).return_value == 1
            link.detach()
            assert asked.programs.ask.test_run(data=packet).return_value == 2


def test_uprobes_by_section_by_offset_and_their_cookies(made: Callable[[str], Any], shop: SimpleNamespace) -> None:
    code = (
        COOKIES
        + f"""
SEC("uprobe/{shop.path}:shop_buy")
int by_section(void *ctx) {{ return note(ctx, 0); }}

SEC("uprobe")
int enter(void *ctx) {{ return note(ctx, 1); }}

SEC("uretprobe")
int leave(void *ctx) {{ return note(ctx, 2); }}
"""
    )
    with load_or_skip(made(code), "5.15") as probe:
        assert probe.unattached == {"enter": "path", "leave": "path"}
        probe.programs.by_section.attach(cookie=31)
        offset = functions(str(shop.path))["shop_buy"]
        probe.programs.enter.attach(path=shop.path, offset=offset, cookie=32)
        probe.programs.leave.attach(path=shop.path, symbol="shop_buy", pid=0, cookie=33)
        for number in range(5):
            assert shop.functions.shop_buy(number) == number + 1
        probe.detach()
        shop.functions.shop_buy(1)
        assert [probe.maps.runs[index] for index in range(3)] == [5, 5, 5]
        assert list(probe.bss.cookies)[:3] == [31, 32, 33]
        probe.attach()
        shop.functions.shop_buy(1)
        assert (probe.maps.runs[0], probe.bss.cookies[0]) == (6, 0)


def test_probes_that_a_program_has_for_tracers(made: Callable[[str], Any], shop: SimpleNamespace) -> None:
    code = (
        COUNTERS
        + f"""
#include <bpf/usdt.bpf.h>

long sold = 0;
long cookie = 0;

static __always_inline int note(struct pt_regs *ctx, __u32 index)
{{
	long count_of_goods = 0;

	if (bpf_usdt_arg(ctx, 0, &count_of_goods))
		return 0;
	sold += count_of_goods;
	cookie = bpf_usdt_cookie(ctx);
	return count_mine(index);
}}

SEC("usdt/{shop.path}:shop:sold")
int by_section(struct pt_regs *ctx) {{ return note(ctx, 0); }}

SEC("usdt")
int by_argument(struct pt_regs *ctx) {{ return note(ctx, 1); }}
"""
    )
    with load_mine(made(code)) as probe:
        assert probe.unattached == {"by_argument": "path"}
        link = probe.programs.by_argument.attach(path=shop.path, provider="shop", probe="sold", pid=0, cookie=41)
        for goods in (1, 10, 100):
            shop.functions.shop_buy(goods)
            shop.functions.shop_sell(goods)
        assert (probe.maps.runs[1], probe.bss.sold, probe.bss.cookie) == (6, 222, 41)
        link.detach()
        try:
            probe.programs.by_section.attach(cookie=42)
        except AttachError as error:
            said = str(error)
            probe.programs.by_section.attach(cookie=42, pid=0)
            assert said == (
                f"attach program 'by_section' to {shop.path}:shop:sold: ENOTSUP, operation not supported. Before Linux "
                "5.15 the probes of a library are attached in one process: say which, attach(pid=...)."
            )
        shop.functions.shop_sell(1000)
        assert (probe.maps.runs[0], probe.maps.runs[1], probe.bss.sold, probe.bss.cookie) == (1, 6, 1222, 42)
        probe.detach()
        shop.functions.shop_sell(1000)
        assert probe.maps.runs[0] == 1
        with pytest.raises(AttachError) as caught:
            probe.programs.by_argument.attach(path=shop.path, provider="shop", probe="soldd")
        assert str(caught.value) == (
            f"attach program 'by_argument' to {shop.path}:shop:soldd: ENOENT, {shop.path} has no probe 'shop:soldd'. "
            "Near names: shop:sold."
        )
        with pytest.raises(AttachError) as caught:
            probe.programs.by_argument.attach(path="/etc/passwd", provider="shop", probe="sold")
        assert str(caught.value) == (
            "attach program 'by_argument' to /etc/passwd:shop:sold: /etc/passwd is no 64-bit little-endian ELF file."
        )
        with pytest.raises(AttachError) as caught:
            probe.programs.by_argument.attach()
        assert str(caught.value) == (
            "attach program 'by_argument' to usdt: the section names no probe. "
            "Say which: attach(path=..., provider=..., probe=...)."
        )


def test_probes_need_the_maps_that_a_header_of_libbpf_has(made: Callable[[str], Any], shop: SimpleNamespace) -> None:
    with made('SEC("usdt")\nint bare(void *ctx) { return 0; }\n').load() as probe:
        for _ in range(2):  # libbpf says it only once
            with pytest.raises(AttachError) as caught:
                probe.programs.bare.attach(path=shop.path, provider="shop", probe="sold")
            assert str(caught.value) == (
                f"attach program 'bare' to {shop.path}:shop:sold: the object has no maps for probes of programs. "
                "Include <bpf/usdt.bpf.h> in its source."
            )


def test_uprobes_on_many_functions(made: Callable[[str], Any], shop: SimpleNamespace) -> None:
    code = (
        COOKIES
        + f"""
SEC("uprobe.multi/{shop.path}:shop_*")
int by_section(void *ctx) {{ return note(ctx, 0); }}

SEC("uprobe.multi")
int enter(void *ctx) {{ return note(ctx, 1); }}

SEC("uretprobe.multi")
int leave(void *ctx) {{ return note(ctx, 2); }}
"""
    )
    with load_or_skip(made(code), "5.15") as probe:
        programs = probe.programs
        assert type(programs.enter) is UprobeMultiProgram
        needed = "path, and pattern, symbols or offsets"
        assert probe.unattached == {"enter": needed, "leave": needed}
        try:
            programs.by_section.attach()
        except AttachError as error:
            skip_if_missing(error)
        places = functions(str(shop.path))
        programs.enter.attach(path=shop.path, symbols=["shop_sell", "shop_close"], cookies=[61, 62])
        programs.leave.attach(path=shop.path, offsets=[places["shop_buy"]], cookies=[63], pid=0)
        for goods in range(3):
            shop.functions.shop_buy(goods)
            shop.functions.shop_sell(goods)
            assert probe.bss.cookies[1] == 61
            shop.functions.shop_close(goods)
            assert list(probe.bss.cookies)[:3] == [0, 62, 63]
        assert [probe.maps.runs[index] for index in range(3)] == [9, 6, 3]
        probe.detach()
        shop.functions.shop_close(1)
        link = programs.enter.attach(path=shop.path, pattern="shop_?????")
        shop.functions.shop_buy(1)
        shop.functions.shop_close(1)
        assert [probe.maps.runs[index] for index in range(3)] == [9, 7, 3]
        link.detach()
        for arguments, words in (
            ({}, "uprobe.multi: the section names no functions. Say which: attach(path=..., pattern=...)."),
            ({"path": shop.path}, "uprobe.multi: say one of pattern=, symbols= and offsets=."),
            (
                {"path": shop.path, "pattern": "store_*"},
                f"{shop.path}:store_*: ENOENT, none of the 3 functions of {shop.path} fits.",
            ),
            (
                {"path": shop.path, "symbols": ["shop_bye"]},
                f"{shop.path}:shop_bye: ENOENT, {shop.path} has no function 'shop_bye'. Near names: shop_buy.",
            ),
            (
                {"path": "/no/such/library.so", "symbols": ["shop_buy"]},
                "/no/such/library.so:shop_buy: ENOENT, no such file or directory. There is no such file.",
            ),
            (
                {"path": "/etc/passwd", "pattern": "*"},
                "/etc/passwd:*: /etc/passwd is no 64-bit little-endian ELF file.",
            ),
        ):
            with pytest.raises(AttachError) as caught:
                programs.enter.attach(**arguments)
            assert str(caught.value) == f"attach program 'enter' to {words}"


def test_a_session_on_functions_of_a_library(made: Callable[[str], Any], shop: SimpleNamespace) -> None:
    code = COUNTERS + f'SEC("uprobe.session/{shop.path}:shop_*")\nint both(void *ctx) {{ count_mine(0); return 0; }}\n'
    with load_mine(made(code)) as probe:
        try:
            probe.attach()
        except AttachError as error:
            skip_if_missing(error)
        for goods in range(3):
            shop.functions.shop_buy(goods)
        assert probe.maps.runs[0] == 6
