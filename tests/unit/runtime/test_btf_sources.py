# SPDX-License-Identifier: Apache-2.0
"""Which BTF of a bundle is this host's."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from ebpf_runtime import BtfError
from ebpf_runtime.btf_sources import Host, select

DEBIAN = Host("debian", "12", "6.1.0-56-amd64", "x86_64")


def chosen(names: Iterable[str], here: Host) -> tuple[str, str]:
    return select(dict.fromkeys(names), here)


def refusal(names: Iterable[str], here: Host) -> str:
    with pytest.raises(BtfError) as caught:
        chosen(names, here)
    return str(caught.value)


def test_the_expected_path_is_taken() -> None:
    names = [f"{place}/6.1.0-56-amd64.btf" for place in ("debian/11", "debian/12", "ubuntu/22.04")]
    assert chosen(names, DEBIAN) == ("debian/12/6.1.0-56-amd64.btf", "")


def test_a_level_for_the_architecture_is_understood() -> None:
    names = [f"debian/12/{machine}/6.1.0-56-amd64.btf" for machine in ("arm64", "x86_64")]
    assert chosen(names, DEBIAN) == ("debian/12/x86_64/6.1.0-56-amd64.btf", "")
    assert refusal(names[:1], DEBIAN).startswith("find embedded BTF: the bundle has none for kernel 6.1.0-56-amd64 on ")


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("amzn", "amazon"), ("amazon", "amazon"), ("suse", "suse"), ("sles", "suse"),
        ("opensuse", "opensuse-leap"), ("opensuse-leap", "opensuse-leap"), ("redhat", "rhel"), ("rhel", "rhel"),
        ("oracle", "oracle"), ("ol", "oracle"), ("ubuntu", "ubuntu"), ("centos", "centos"), ("debian", "debian"),
        ("fedora", "fedora"),
    ],
)  # fmt: skip
def test_names_of_a_distribution_mean_the_same(folder: str, name: str) -> None:
    other = "debian" if name != "debian" else "ubuntu"
    assert chosen([f"{folder}/1/r.btf", f"{other}/1/r.btf"], Host(name, "1", "r", "x86_64")) == (
        f"{folder}/1/r.btf",
        "",
    )


def test_none_for_this_release_names_it() -> None:
    assert refusal(["debian/12/6.1.0-55-amd64.btf", "gentoo/1/6.1.0-56-amd64.btf"], DEBIAN) == (
        "find embedded BTF: the bundle has none for kernel 6.1.0-56-amd64 on x86_64. "
        "Set system_probe_config.btf_path to the BTF of this kernel."
    )


def test_the_only_one_is_taken_with_a_remark_if_the_system_seems_another() -> None:
    names = ["debian/12/6.1.0-56-amd64.btf"]
    assert chosen(names, Host("debian", "13", "6.1.0-56-amd64", "x86_64")) == (names[0], "")
    assert chosen(names, Host("alpine", "3", "6.1.0-56-amd64", "x86_64")) == (
        names[0],
        "the host seems to be alpine 3, but debian/12/6.1.0-56-amd64.btf alone has its kernel",
    )
    ubuntu = ["ubuntu/20.04/5.4.0-1-generic.btf"]
    assert chosen(ubuntu, Host("ubuntu", "18.04", "5.4.0-1-generic", "x86_64")) == (
        ubuntu[0],
        "the host seems to be ubuntu 18.04, but ubuntu/20.04/5.4.0-1-generic.btf alone has its kernel",
    )


@pytest.mark.parametrize(
    ("distribution", "version", "folders"),
    [
        ("rhel", "8.4", ("rhel/8", "centos/8")),
        ("oracle", "8.10", ("oracle/8", "rhel/8", "centos/8")),
        ("debian", "13", ("debian/12", "ubuntu/22.04")),
    ],
)
def test_a_version_matters_for_ubuntu_alone(distribution: str, version: str, folders: tuple[str, ...]) -> None:
    release = "4.18.0-305.el8.x86_64"
    names = [f"{folder}/x86_64/{release}.btf" for folder in folders]
    assert chosen(names, Host(distribution, version, release, "x86_64")) == (names[0], "")
    assert chosen(reversed(names), Host(distribution, version, release, "x86_64")) == (names[0], "")


def test_ubuntu_of_another_version_is_not_told_from_others() -> None:
    release = "5.4.0-1-generic"
    names = [f"{folder}/x86_64/{release}.btf" for folder in ("ubuntu/20.04", "debian/11")]
    assert refusal(names, Host("ubuntu", "18.04", release, "x86_64")) == (
        f"find embedded BTF: kernel {release} is that of debian/11/x86_64/{release}.btf, "
        f"ubuntu/20.04/x86_64/{release}.btf, and the host seems to be ubuntu 18.04. Mount the host's /etc/os-release "
        "at /host/etc/os-release, or set system_probe_config.btf_path."
    )


@pytest.mark.parametrize(
    ("release", "folders", "expected"),
    [
        ("4.14.1-1.amzn2.x86_64", ("amazon", "debian"), "amazon"),
        ("4.18.0-80.el8_6.x86_64", ("centos", "debian"), "centos"),
        ("3.10.0-1.el7.x86_64", ("rhel", "debian"), "rhel"),
        ("5.4.17-1.el8uek.x86_64", ("oracle", "debian"), "oracle"),
        ("5.10.0-1.deb10.1-amd64", ("debian", "ubuntu"), "debian"),
        ("5.6.6-300.fc32.x86_64", ("fedora", "debian"), "fedora"),
        ("4.12.14-lp151.28-default", ("opensuse-leap", "suse"), "opensuse-leap"),
        ("5.3.18-150300.59-default", ("opensuse-leap", "suse"), "opensuse-leap"),
    ],
)
def test_the_release_tells_the_distribution(release: str, folders: tuple[str, ...], expected: str) -> None:
    names = [f"{folder}/1/{release}.btf" for folder in folders]
    assert chosen(names, Host("alpine", "3", release, "x86_64")) == (f"{expected}/1/{release}.btf", "")


def test_several_are_an_error_that_names_them() -> None:
    release = "4.18.0-80.el8.x86_64"
    names = [f"{folder}/8/{release}.btf" for folder in ("rhel", "centos", "debian")]
    assert refusal(names, Host("alpine", "3", release, "x86_64")) == (
        f"find embedded BTF: kernel {release} is that of centos/8/{release}.btf, rhel/8/{release}.btf, and the host "
        "seems to be alpine 3. Mount the host's /etc/os-release at /host/etc/os-release, or set "
        "system_probe_config.btf_path."
    )
