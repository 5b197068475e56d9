# SPDX-License-Identifier: Apache-2.0
"""Kinds that see packets and sockets, on real traffic between devices and sockets of this host."""

from __future__ import annotations

import json
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from ebpf_runtime import AttachError, CoReError, EbpfError, NetkitProgram, ProbeConfig, Redirection, SockmapProgram
from tests.support.programs import COUNTERS, in_namespace, missing, run, send, skip_if_missing
from tests.support.sources import make_module, write_source

pytestmark = pytest.mark.kernel

ETH_P_ALL, SOL_PACKET, PACKET_FANOUT = 3, 263, 18
NO_FALLBACK = ProbeConfig(allow_runtime_compiled_fallback=False)


@pytest.fixture
def made(tmp_path: Path) -> Callable[[str], Any]:
    """Give a function that makes a probe of C text and opens it."""

    def make(code: str) -> Any:
        return make_module(tmp_path, write_source(tmp_path, "network", COUNTERS + code)).Network.open(NO_FALLBACK)

    return make


def counts(probe: Any, number: int) -> list[int]:
    return [probe.maps.runs[index] for index in range(number)]


@contextmanager
def connected() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Give the two ends of a TCP connection over the loopback device."""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as near:
        far, _ = server.accept()
        with far:
            for end in (near, far):
                end.settimeout(20)
            yield near, far


def to(address: str, packets: int) -> None:
    """Send UDP packets to an address, whether or not somebody takes them in."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for _ in range(packets):
            sender.sendto(b"packet", (address, 9))


def pair() -> None:
    """Make two devices, each of which takes in what the other gives out."""
    run("ip", "link", "add", "left", "type", "veth", "peer", "name", "right")
    for device, address in (("left", "10.9.1.1/24"), ("right", "10.9.2.1/24")):
        run("ip", "address", "add", address, "dev", device)
        run("ip", "link", "set", device, "up")
    run("ip", "neighbour", "add", "10.9.1.2", "lladdr", "02:00:00:00:00:01", "dev", "left")


@missing("netkit/primary", "6.7")
def test_netkit(made: Callable[[str], Any]) -> None:
    code = """
SEC("netkit/primary")
int first(void *ctx) { count(0); return -1; /* as without the program */ }

SEC("netkit/peer")
int second(void *ctx) { count(1); return -1; }
"""
    with made(code).load() as probe:
        assert type(probe.programs.first) is NetkitProgram

        def work() -> list[int]:
            with pytest.raises(AttachError) as caught:
                probe.programs.first.attach(ifindex="lo")
            if caught.value.feature:
                assert str(caught.value) == (
                    "attach program 'first' to device 'lo': EINVAL, invalid argument; "
                    "this kernel has no netkit (CONFIG_NETKIT), Linux 6.7 has."
                )
                skip_if_missing(caught.value)
            assert str(caught.value) == "attach program 'first' to device 'lo': ENXIO, no such device or address."
            run("ip", "link", "add", "name", "near", "type", "netkit")
            (far,) = {name for _, name in socket.if_nameindex()} - {"lo", "near"}
            for device, address in (("near", "10.9.1.1/24"), (far, "10.9.2.1/24")):
                run("ip", "address", "add", address, "dev", device)
                run("ip", "link", "set", device, "up")
            with ExitStack() as stack:
                for program in (probe.programs.first, probe.programs.second):
                    link = program.attach(ifindex="near")
                    stack.callback(link.detach)
                before = counts(probe, 2)
                to("10.9.1.2", 5)
                to("10.9.2.2", 3)
                seen = [after - earlier for earlier, after in zip(before, counts(probe, 2), strict=True)]
            to("10.9.1.2", 1)
            return seen

        assert in_namespace(work) == [5, 3]
        assert counts(probe, 2)[0] >= 5


SOCKETS = """
struct {
	__uint(type, 15); /* BPF_MAP_TYPE_SOCKMAP */
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, __u32);
} ends SEC(".maps");
"""


def test_messages_of_sockets_of_a_map(made: Callable[[str], Any]) -> None:
    with made(SOCKETS + 'SEC("sk_msg")\nint on_message(void *ctx) { count(0); return 1; }\n').load() as probe:
        assert type(probe.programs.on_message) is SockmapProgram
        assert probe.unattached == {"on_message": "map"}
        link = probe.programs.on_message.attach(map=probe.maps.ends)
        with connected() as (near, far):
            probe.maps.ends[0] = near
            for number in range(7):
                near.sendall(b"%d" % number)
                assert far.recv(64) == b"%d" % number
        link.detach()
        with connected() as (near, far):
            probe.maps.ends[0] = near
            near.sendall(b"more")
            assert far.recv(64) == b"more"
        assert counts(probe, 1) == [7]
        ends = probe.maps.ends
        probe.close()
        with made(SOCKETS + 'SEC("sk_msg")\nint on_message(void *ctx) { return 1; }\n').load() as other:
            with pytest.raises(AttachError) as caught:
                other.programs.on_message.attach(map=ends)
            assert str(caught.value) == "attach program 'on_message' to map 'ends': the map is closed."


def test_packets_of_sockets_of_a_map_with_a_parser(made: Callable[[str], Any]) -> None:
    code = (
        SOCKETS
        + """
struct __sk_buff {
	__u32 len;
};

SEC("sk_skb/stream_parser")
int parse(struct __sk_buff *skb) { count(0); return skb->len; }

SEC("sk_skb/stream_verdict")
int judge(void *skb) { count(1); return 1; /* SK_PASS */ }
"""
    )
    with made(code).load() as probe:
        for program in (probe.programs.parse, probe.programs.judge):
            program.attach(map=probe.maps.ends)
        with connected() as (near, far):
            probe.maps.ends[0] = far
            for number in range(5):
                near.sendall(b"%d" % number)
                assert far.recv(64) == b"%d" % number
        assert counts(probe, 2) == [5, 5]
        with pytest.raises(AttachError) as caught:
            probe.programs.parse.attach(map=probe.maps.runs)
        assert str(caught.value) == (
            "attach program 'parse' to map 'runs': it is of type ARRAY. Attach to one of type SOCKMAP or SOCKHASH."
        )


@missing("sk_skb/verdict", "5.13")
def test_packets_of_sockets_of_a_map(made: Callable[[str], Any]) -> None:
    code = SOCKETS + 'SEC("sk_skb/verdict")\nint judge(void *skb) { count(0); return 1; }\n'
    with made(code).load() as probe:
        try:
            link = probe.programs.judge.attach(map=probe.maps.ends)
        except AttachError as error:
            skip_if_missing(error)
        with connected() as (near, far):
            probe.maps.ends[0] = far
            for number in range(5):
                near.sendall(b"%d" % number)
                assert far.recv(64) == b"%d" % number
        assert counts(probe, 1) == [5]
        link.detach()


def test_a_flow_dissector(made: Callable[[str], Any]) -> None:
    code = 'SEC("flow_dissector")\nint dissect(void *ctx) { count(0); return 0; /* BPF_OK */ }\n'
    with made(code).load() as probe:

        def work() -> tuple[int, int]:
            # Sockets that share packets by their flows have each dissected.
            fanout = stack.enter_context(socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL)))
            fanout.setsockopt(SOL_PACKET, PACKET_FANOUT, 1)
            link = probe.programs.dissect.attach()
            to("127.0.0.1", 5)
            seen = counts(probe, 1)[0]
            with pytest.raises(AttachError, match=r"Another program is attached there already\.$"):
                probe.programs.dissect.attach()
            link.detach()
            to("127.0.0.1", 5)
            return seen, counts(probe, 1)[0]

        with ExitStack() as stack:
            seen, after = in_namespace(work)
        assert seen >= 5
        assert after == seen


def test_an_action_of_a_filter(made: Callable[[str], Any], pins: Path) -> None:
    with made('SEC("action")\nint act(void *ctx) { count(0); return 0; /* TC_ACT_OK */ }\n').load() as probe:
        with pytest.raises(AttachError) as caught:
            probe.attach().programs.act.attach()
        assert str(caught.value) == (
            "attach program 'act' to action: programs of this kind have no hook of their own. It is part of a filter: "
            "pin(PATH) it, then tc filter add dev DEVICE ingress matchall action bpf object-pinned PATH."
        )
        probe.programs.act.pin(pins / "act")

        def work() -> None:
            run("tc", "qdisc", "add", "dev", "lo", "clsact")
            command = f"tc filter add dev lo ingress matchall action bpf object-pinned {pins / 'act'}"
            done = subprocess.run(command.split(), capture_output=True, text=True, check=False)
            if "TC classifier not found" in done.stderr or "action module" in done.stderr:
                pytest.skip("the kernel has no actions of BPF (CONFIG_NET_ACT_BPF) for all packets (before 4.8)")
            assert not done.returncode, done.stderr
            send(6)

        in_namespace(work)
        assert counts(probe, 1) == [6]
        probe.programs.act.unpin(pins / "act")


@pytest.mark.parametrize("kind", ["lwt_in", "lwt_out", "lwt_xmit"])
def test_a_program_of_a_route(made: Callable[[str], Any], pins: Path, kind: str) -> None:
    with made(f'SEC("{kind}")\nint pass_on(void *ctx) {{ count(0); return 0; /* BPF_OK */ }}\n').load() as probe:
        way = kind.removeprefix("lwt_")
        with pytest.raises(AttachError) as caught:
            probe.programs.pass_on.attach()
        assert str(caught.value) == (
            f"attach program 'pass_on' to {kind}: programs of this kind have no hook of their own. It is part of a "
            f"route: pin(PATH) it, then ip route add PREFIX encap bpf {way} pinned PATH dev DEVICE."
        )
        probe.programs.pass_on.pin(pins / "route")

        def work() -> int:
            pair()
            if way == "in":  # of packets that are taken in and belong to this host
                command = f"ip route replace table local local 10.9.9.9 encap bpf in pinned {pins / 'route'} dev lo"
            else:
                command = f"ip route add 10.9.9.9 encap bpf {way} pinned {pins / 'route'} via 10.9.1.2 dev left"
            run(*command.split())
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
                if way == "in":
                    receiver.bind(("10.9.9.9", 9))
                to("10.9.9.9", 4)
            return counts(probe, 1)[0]

        assert in_namespace(work) == 4
        probe.programs.pass_on.unpin(pins / "route")


def test_a_program_of_segment_routing(made: Callable[[str], Any], pins: Path) -> None:
    with made('SEC("lwt_seg6local")\nint pass_on(void *ctx) { count(0); return 0; }\n').load() as probe:
        with pytest.raises(AttachError) as caught:
            probe.programs.pass_on.attach()
        assert str(caught.value) == (
            "attach program 'pass_on' to lwt_seg6local: programs of this kind have no hook of their own. It is part of "
            "a route: pin(PATH) it, then "
            "ip -6 route add PREFIX encap seg6local action End.BPF endpoint pinned PATH dev DEVICE."
        )
        probe.programs.pass_on.pin(pins / "segment")

        def work() -> int:
            pair()
            shown = subprocess.run(["ip", "-j", "link", "show", "right"], capture_output=True, check=True)
            right = json.loads(shown.stdout)[0]["address"]
            for device in ("left", "right"):
                run("ip", "-6", "address", "add", f"fd0{len(device)}::1/64", "dev", device, "nodad")
            run("ip", "-6", "neighbour", "add", "fd09::9", "lladdr", right, "dev", "left")
            for command in (
                f"fd09::9 encap seg6local action End.BPF endpoint pinned {pins / 'segment'} dev left",
                "fd08::/64 encap seg6 mode encap segs fd09::9,fd09::10 dev left",
            ):
                run("ip", "-6", "route", "add", *command.split())
            with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sender:
                for _ in range(4):
                    sender.sendto(b"packet", ("fd08::1", 9))
            deadline = time.monotonic() + 20
            while counts(probe, 1)[0] < 4 and time.monotonic() < deadline:
                time.sleep(0.01)
            return counts(probe, 1)[0]

        assert in_namespace(work) == 4
        probe.programs.pass_on.unpin(pins / "segment")


@pytest.mark.parametrize(("kind", "number", "floor"), [("devmap", 14, "5.8"), ("cpumap", 16, "5.9")])
def test_a_program_on_redirected_packets(made: Callable[[str], Any], kind: str, number: int, floor: str) -> None:
    code = f"""
struct targets_value {{
	__u32 target;
	__u32 program;
}};

struct {{
	__uint(type, {number});
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct targets_value);
}} targets SEC(".maps");

SEC("xdp")
int redirect(void *ctx) {{ count(0); return bpf_redirect_map(&targets, 0, 2); }}

SEC("xdp")
int pass_on(void *ctx) {{ return 2; /* a device gives out what is redirected to it if its peer takes XDP frames */ }}

SEC("xdp/{kind}")
int again(void *ctx) {{ count(1); return 2; /* XDP_PASS */ }}
"""
    with made(code).load() as probe:
        with pytest.raises(AttachError) as caught:
            probe.programs.again.attach()
        assert str(caught.value) == (
            f"attach program 'again' to xdp/{kind}: programs of this kind have no hook of their own. It sees what a "
            f"map of type {kind.upper()} redirects: store Redirection(TARGET, program.fd) in one."
        )

        def work() -> list[int]:
            pair()
            target = socket.if_nametoindex("right") if kind == "devmap" else 64
            probe.maps.targets[0] = Redirection(target, probe.programs.again.fd)
            link = probe.programs.redirect.attach(ifindex="right", mode="native")
            peer = probe.programs.pass_on.attach(ifindex="left", mode="native")
            before = counts(probe, 2)
            to("10.9.1.2", 5)
            deadline = time.monotonic() + 20
            while counts(probe, 2)[1] - before[1] < 5 and time.monotonic() < deadline:
                time.sleep(0.01)
            link.detach()
            peer.detach()
            return counts(probe, 2)

        redirected, again = in_namespace(work)
        assert redirected >= 5  # the devices speak of themselves, too
        assert 5 <= again <= redirected


def test_a_program_that_takes_fragments(made: Callable[[str], Any]) -> None:
    try:
        probe = made('SEC("xdp.frags")\nint pass_on(void *ctx) { count(0); return 2; }\n').load()
    except CoReError as error:
        cause = error.__cause__
        assert isinstance(cause, EbpfError)
        assert str(cause) == (
            "load program 'pass_on': EINVAL, invalid argument; "
            "this kernel has no XDP programs that take fragments, Linux 5.18 has."
        )
        pytest.skip("the kernel has no XDP programs that take fragments (before 5.18)")
    with probe:

        def work() -> int:
            run("ip", "link", "set", "lo", "mtu", "65536")
            link = probe.programs.pass_on.attach(ifindex="lo", mode="generic")
            send(5)
            link.detach()
            return counts(probe, 1)[0]

        assert in_namespace(work) == 5


@missing("sk_reuseport/migrate", "5.14")
def test_a_choice_among_listeners(made: Callable[[str], Any]) -> None:
    code = 'SEC("sk_reuseport/migrate")\nint choose(void *ctx) { count(0); return 1; }\n'
    with made(code).load() as probe, socket.socket() as first:
        first.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        first.bind(("127.0.0.1", 0))
        first.listen()
        link = probe.programs.choose.attach(socket=first)
        for _ in range(3):
            socket.create_connection(first.getsockname()).close()
            first.accept()[0].close()
        assert counts(probe, 1) == [3]
        link.detach()


def test_a_receiver_that_is_not_there(made: Callable[[str], Any]) -> None:
    try:
        probe = made('SEC("lirc_mode2")\nint decode(void *ctx) { count(0); return 0; }\n').load()
    except CoReError as error:
        cause = error.__cause__
        assert isinstance(cause, EbpfError)
        assert str(cause) == (
            "load program 'decode': EINVAL, invalid argument; this kernel has no programs of infrared receivers "
            "(CONFIG_BPF_LIRC_MODE2), Linux 4.18 has."
        )
        return
    with probe:
        receivers = sorted(Path("/dev").glob("lirc*"))
        if not receivers:
            with pytest.raises(AttachError, match=r"^attach program 'decode' to device /dev/lirc0: ENOENT, "):
                probe.programs.decode.attach(device="/dev/lirc0")
            return
        link = probe.programs.decode.attach(device=receivers[0])
        pulses = b"".join(number.to_bytes(4, "little") for number in (500, 600, 700))
        with receivers[0].open("wb", buffering=0) as device:
            device.write(pulses)
        deadline = time.monotonic() + 20
        while counts(probe, 1) == [0] and time.monotonic() < deadline:
            time.sleep(0.01)
        link.detach()
        assert counts(probe, 1)[0] >= 3
