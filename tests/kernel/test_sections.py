# SPDX-License-Identifier: Apache-2.0
"""Variables of every section, the kernel's configuration and records with bitfields and unions, in the kernel."""

from __future__ import annotations

import os
import platform
from types import ModuleType

import pytest

from ebpf_runtime import VariableError
from tests.support.programs import GETPPID
from tests.support.sources import make_module, write_source

pytestmark = pytest.mark.kernel


SOURCE = """
extern int LINUX_KERNEL_VERSION __kconfig;
extern unsigned int CONFIG_HZ __kconfig __weak;
extern _Bool CONFIG_BPF_SYSCALL __kconfig;

struct packed_call {
	__u8 kind : 3;
	__u32 number : 30;
	__s64 minus : 31;
	union {
		__u32 whole;
		struct {
			__u16 low;
			__u16 high;
		};
	};
} __attribute__((packed));

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8);
	__type(key, struct packed_call);
	__type(value, struct packed_call);
} calls SEC(".maps");

struct {
	__u32 version;
} about SEC(".my_about") = {.version = 7};

const volatile __u32 limit SEC(".rodata.limits") = 3;
__u64 hot SEC(".data.hot") = 5;
__u64 zero SEC(".bss.zero");
__u64 version;
__u32 configured;
__u32 hits;
struct packed_call latest;

SEC("raw_tp/sys_enter")
int on_call(struct bpf_raw_tracepoint_args *ctx)
{
	if (ctx->args[1] != CALL_NUMBER || zero >= limit)
		return 0;
	__sync_fetch_and_add(&zero, 1);
	__sync_fetch_and_add(&hits, 1);
	hot += 2;
	version = LINUX_KERNEL_VERSION;
	configured = CONFIG_BPF_SYSCALL ? CONFIG_HZ : 0;
	struct packed_call call = {.kind = 5, .number = 0x2abcdef1, .minus = -3, .low = 1, .high = 2};
	bpf_map_update_elem(&calls, &call, &call, BPF_ANY);
	latest = call;
	return 0;
}
"""


@pytest.fixture(scope="module")
def module(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    directory = tmp_path_factory.mktemp("sections")
    source = write_source(directory, "sections", SOURCE.replace("CALL_NUMBER", str(GETPPID)))
    return make_module(directory, source)


def test_every_section_is_read_and_written(module: ModuleType) -> None:
    with module.Sections.open() as opened:
        assert (opened.rodata_limits.limit, opened.data_hot.hot, opened.my_about.about.version) == (3, 5, 7)
        opened.rodata_limits.limit = 11
        opened.data_hot.hot = 100
        with pytest.raises(AttributeError) as missed:
            opened.data_hot.hto = 100
        assert str(missed.value) == "set variable 'hto': .data.hot has none of this name; it has hot"
        with pytest.raises(VariableError) as caught:
            opened.kconfig.CONFIG_HZ = 1
        assert str(caught.value) == (
            "set variable 'CONFIG_HZ': the kernel's configuration is the kernel's, and known once the probe is loaded."
        )
        with opened.load() as probe:
            probe.attach()
            for _ in range(13):
                os.getppid()
            probe.detach()
            assert (probe.bss_zero.zero, probe.bss.hits, probe.data_hot.hot) == (11, 11, 122)
            major, minor = map(int, platform.release().split(".")[:2])
            assert major << 8 | minor == probe.kconfig.LINUX_KERNEL_VERSION >> 8
            assert probe.bss.version == probe.kconfig.LINUX_KERNEL_VERSION
            assert probe.kconfig.CONFIG_BPF_SYSCALL is True
            assert probe.bss.configured == probe.kconfig.CONFIG_HZ
            assert probe.my_about.about.version == 7
            with pytest.raises(VariableError):
                probe.kconfig.CONFIG_HZ = 1
            latest = probe.bss.latest
            assert latest == module.PackedCall(kind=5, number=0x2ABCDEF1, minus=-3, low=1, high=2)
            assert latest.whole == 0x20001
            assert list(probe.maps.calls) == [latest]
            assert probe.maps.calls[module.PackedCall(kind=5, number=0x2ABCDEF1, minus=-3, whole=0x20001)] == latest
