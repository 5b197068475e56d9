# SPDX-License-Identifier: Apache-2.0
"""`ebpf-collector doctor` on the running kernel: it says what the probes say, and leaves nothing loaded."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from errno import errorcode
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import ebpf_probes
from ebpf_codegen import btf, btf_bundle, btf_writer
from ebpf_collector.doctor import examine, exit_code
from ebpf_collector.schema import doctor as doctor_schema
from ebpf_probes.ebpf_inventory import EbpfInventory
from ebpf_probes.oom_kill import OomKill
from ebpf_probes.tcp_queue_length import TcpQueueLength
from ebpf_runtime import ProbeConfig, libbpf
from tests.support.kernel import assert_nothing_new, identifiers
from tests.support.mounts import hidden_from

pytestmark = pytest.mark.kernel

DOCTOR = (sys.executable, "-P", "-m", "ebpf_collector", "doctor")
POWERLESS = ("setpriv", "--inh-caps=-all", "--bounding-set=-all")  # root, but without a capability
CLASSES: dict[str, Any] = {
    "ebpf_inventory": EbpfInventory,
    "oom_kill": OomKill,
    "tcp_queue_length": TcpQueueLength,
}


def doctor(*arguments: str, prefix: tuple[str, ...] = (), **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        (*prefix, *DOCTOR, *arguments), env=os.environ | environment, capture_output=True, text=True, timeout=120,
        check=False,
    )  # fmt: skip


def told(run: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run.stdout)
    jsonschema.validate(found, doctor_schema())
    return found


def test_it_says_what_each_probe_says_and_leaves_nothing_loaded() -> None:
    before = identifiers()
    run = doctor("--json")
    assert (run.returncode, run.stderr) == (0, "")
    assert_nothing_new(before)
    found = told(run)
    assert [probe["name"] for probe in found["probes"]] == list(CLASSES)
    for probe in found["probes"]:
        with CLASSES[probe["name"]].open_and_load() as loaded:
            assert (probe["variant"], probe["origin"], probe["error"]) == (loaded.variant, loaded.origin, "")
            assert (probe["btf"]["source"], probe["co_re_result"]) == ("kernel", "default")
            said = [(item["variant"], item["phase"], item["errno"], item["line"]) for item in probe["refused"]]
            assert said == [(item.variant, item.phase, item.errno, item.line) for item in loaded.refused]
            assert all(line and "\n" not in line for _, _, _, line in said)
            names = {**errorcode, 524: "ENOTSUPP"}  # the kernel's own, which errno has not
            assert all(item["errno_name"] == names[item["errno"]] for item in probe["refused"])
    host = found["host"]
    assert host["release"] == os.uname().release
    assert host["kernel_btf"] == "/sys/kernel/btf/vmlinux"
    assert host["missing_capabilities"] == []
    assert host["libbpf"]["origin"] in ("EBPF_LIBBPF", "bundled", "system")
    assert Path(host["mounts"]["tracefs"], "events").is_dir()


@pytest.mark.any_kernel
@pytest.mark.parametrize("option", ["rw", "ro"])
def test_it_makes_no_directory_and_needs_none(option: str) -> None:
    script = f'mount -t tmpfs -o {option} none /var/tmp && "$@" && find /var/tmp -mindepth 1 >&2'
    run = doctor("--json", prefix=("unshare", "--mount", "sh", "-c", script, "sh"))
    assert (run.returncode, run.stderr) == (0, "")
    assert len(told(run)["probes"]) == len(CLASSES)


@pytest.mark.any_kernel
def test_for_people_it_names_every_variant_that_was_refused() -> None:
    run = doctor()
    assert (run.returncode, run.stderr) == (0, "")
    found = told(doctor("--json"))
    lines = run.stdout.splitlines()
    assert (lines[0], "probes" in lines) == ("host", True)
    for probe in found["probes"]:
        (place,) = [number for number, line in enumerate(lines) if line.startswith(f"  {probe['name']}")]
        assert f"variant {probe['variant']}, by CO-RE with BTF from /sys/kernel/btf/vmlinux (kernel)" in lines[place]
        for number, item in enumerate(probe["refused"], place + 1):
            assert lines[number].split(None, 3) == [
                "not", item["variant"], f"{item['phase']}:", f"{item['errno_name']}; {item['line']}",
            ]  # fmt: skip


@pytest.mark.any_kernel
def test_with_bpf_debug_it_shows_what_the_verifier_said_of_each_probe() -> None:
    run = doctor("--json", BPF_DEBUG="true")
    assert (run.returncode, run.stderr) == (0, "")
    logs = [probe["log"] for probe in told(run)["probes"]]
    assert all(re.search(r"^processed \d+ insns", log, re.MULTILINE) for log in logs)
    lines = [line.removeprefix("  ") for line in doctor(BPF_DEBUG="true").stdout.splitlines()]
    shown = [line.removeprefix("  log").strip() for line in lines if line.startswith("  log ")]
    assert sum(line.startswith("processed ") for line in shown) == sum(log.count("\nprocessed ") for log in logs)
    assert [probe["log"] for probe in told(doctor("--json"))["probes"]] == [""] * len(CLASSES)


@pytest.mark.skipif(os.geteuid() != 0, reason="drops the capabilities of root")
def test_without_capabilities_the_exit_code_is_3_and_they_are_named() -> None:
    run = doctor("--json", prefix=POWERLESS)
    assert (run.returncode, run.stderr) == (3, "")
    found = told(run)
    assert found["host"]["missing_capabilities"] == ["CAP_BPF", "CAP_PERFMON"]
    for probe in found["probes"]:
        assert (probe["works"], probe["permitted"], probe["variant"]) == (False, False, "")
        assert probe["error"] == (
            f"load probe '{probe['name']}': EPERM, this process lacks CAP_BPF and CAP_PERFMON. Run as root, or grant "
            "the capabilities (setcap, AmbientCapabilities=)."
        )


@pytest.mark.any_kernel
@pytest.mark.skipif(os.geteuid() != 0, reason="drops the capabilities of root")
@pytest.mark.parametrize("fallback", [True, False], ids=["fallback", "no fallback"])
def test_cap_sys_admin_is_named_where_libbpf_needs_it(tmp_path: Path, fallback: bool) -> None:
    """The inventory knows types that the kernel may lack, and old libbpf cannot do without looking in its modules."""
    config = tmp_path / "c.yaml"
    config.write_text(json.dumps({"system_probe_config": {"allow_runtime_compiled_fallback": fallback}}))
    capabilities = "-all,+bpf,+perfmon"
    prefix = ("setpriv", f"--inh-caps={capabilities}", f"--bounding-set={capabilities}")
    libbpf.library()
    run = doctor("--json", "--config", str(config), prefix=prefix, EBPF_LIBBPF=libbpf.origin()[1])
    found = told(run)
    assert found["host"]["missing_capabilities"] == []
    probe = next(item for item in found["probes"] if item["name"] == "ebpf_inventory")
    if libbpf.version() >= (1, 3):
        assert (run.returncode, probe["error"]) == (0, "")
        return
    assert (run.returncode, run.stderr) == (3, "")
    assert (probe["works"], probe["permitted"], probe["warnings"], probe["origin"]) == (False, False, [], "")
    assert probe["error"] == (
        "load probe 'ebpf_inventory': EPERM, this process lacks CAP_SYS_ADMIN, without which libbpf before 1.3 does "
        "not look for types of the kernel's modules. Run as root, or grant the capabilities (setcap, "
        "AmbientCapabilities=), or install libbpf 1.3."
    )


@pytest.mark.any_kernel
def test_a_probe_that_does_not_work_is_exit_code_1_with_every_reason(tmp_path: Path) -> None:
    import struct

    empty = tmp_path / "empty.btf"
    types = struct.pack("<IIII", 1, 1 << 24, 4, 32 | 1 << 24)
    empty.write_bytes(struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(types), len(types), 5) + types + b"\0int\0")
    config = tmp_path / "c.yaml"
    settings = {"btf_path": str(empty), "allow_runtime_compiled_fallback": False}
    config.write_text(json.dumps({"system_probe_config": settings}))
    run = doctor("--json", "--config", str(config))
    assert (run.returncode, run.stderr) == (1, "")
    probe = next(item for item in told(run)["probes"] if item["name"] == "oom_kill")
    assert (probe["works"], probe["permitted"], probe["btf"]["source"]) == (False, True, "custom")
    assert probe["co_re_result"] in ("verifier", "loader")
    assert [item["variant"] for item in probe["refused"]] == ["fentry", "kprobe", "raw_tp"]
    assert probe["error"].startswith("load probe 'oom_kill' by CO-RE: ")


@pytest.mark.any_kernel
def test_a_defect_of_one_probe_keeps_no_other_from_being_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    line = 0

    def defective(*_: object) -> None:
        nonlocal line
        line = sys._getframe().f_lineno + 1
        raise KeyError(5)

    monkeypatch.setattr(EbpfInventory, "open_and_load", defective)
    found = examine(ProbeConfig())
    jsonschema.validate(found, doctor_schema())
    assert [(item["name"], item["works"], item["permitted"]) for item in found["probes"]] == [
        ("ebpf_inventory", False, True), ("oom_kill", True, True), ("tcp_queue_length", True, True),
    ]  # fmt: skip
    assert found["probes"][0]["error"] == (f"internal error: KeyError, 5 (test_doctor.py:{line}). Please report it.")
    assert exit_code(found) == 1


@pytest.mark.any_kernel
def test_damaged_btf_is_one_clear_error_of_each_probe(tmp_path: Path) -> None:
    """BTF of the probes' types, with numbers of five bytes, which libbpf takes and no compiler has."""
    objects = [path for folder in ebpf_probes.__path__ for path in Path(folder).glob("*.bpf.o")]
    ((_, data),) = btf_bundle.cut(objects, btf_bundle.find([Path("/sys/kernel/btf/vmlinux")]))
    types = [
        item._replace(size=5, bits=40) if isinstance(item, btf.Int) and not item.is_bool else item
        for item in btf.read(data).types
    ]
    damaged = tmp_path / "damaged.btf"
    damaged.write_bytes(btf_writer.write(types, "little"))
    config = ProbeConfig(False, btf_path=damaged, runtime_compiler_output_dir=tmp_path / "b")
    probes = hidden_from(lambda: examine(config))["probes"]
    assert [item["name"] for item in probes] == list(CLASSES)
    for item in probes:
        reason = rf"{damaged}: \.BTF, type \d+: C has no integer of 5 bytes\."
        if item["name"] == "ebpf_inventory":
            reason = r"its programs attach by the kernel's BTF, and /sys/kernel/btf/vmlinux is missing\. .*"
        assert re.fullmatch(rf"compile '{item['name']}' on this host: {reason}", item["error"])


@pytest.mark.any_kernel
def test_what_is_compiled_and_warned_of_is_told(tmp_path: Path) -> None:
    config = tmp_path / "c.yaml"
    settings = {"enable_co_re": False, "runtime_compiler_output_dir": str(tmp_path / "b")}
    config.write_text(json.dumps({"system_probe_config": settings}))
    run = doctor("--json", "--config", str(config))
    assert run.returncode == 0
    assert {(item["origin"], item["compile_result"], item["compile_result_code"]) for item in told(run)["probes"]} == {
        ("compiled", "compiled", 1)
    }
    config.write_text(json.dumps({"system_probe_config": {"btf_path": str(tmp_path / "missing")}}))
    run = doctor("--config", str(config))
    assert run.returncode == 0
    assert run.stdout.count(f"  warning         read {tmp_path}/missing: ENOENT, ") == 3


@pytest.mark.any_kernel
def test_wrong_use_is_exit_code_2(tmp_path: Path) -> None:
    run = doctor("--nonsense")
    assert (run.returncode, run.stdout) == (2, "")
    run = doctor("--config", str(tmp_path / "missing"))
    assert (run.returncode, run.stdout) == (2, "")
    assert run.stderr == (
        f"ebpf-collector: read configuration file {tmp_path}/missing: ENOENT, no such file or directory. "
        "Check the path given to --config.\n"
    )


@pytest.mark.any_kernel
def test_without_libbpf_it_says_so(tmp_path: Path) -> None:
    run = doctor("--json", EBPF_LIBBPF=str(tmp_path / "libbpf.so"))
    found = told(run)
    assert run.returncode == 1
    assert found["host"]["libbpf"]["version"] == ""
    assert found["host"]["libbpf"]["error"].startswith(f"load libbpf: {tmp_path}/libbpf.so: ")
    assert {probe["error"] for probe in found["probes"]} == {found["host"]["libbpf"]["error"]}
