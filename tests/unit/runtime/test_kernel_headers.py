# SPDX-License-Identifier: Apache-2.0
"""Where kernel headers are looked for, what is refused, and how an archive is unpacked."""

from __future__ import annotations

import io
import os
import re
import sys
import tarfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from subprocess import run

import pytest

from ebpf_runtime import ProbeConfig, kernel_headers
from ebpf_runtime.config import HEADER_RESULTS
from ebpf_runtime.facts import host_facts
from ebpf_runtime.kernel_headers import HeaderError, KernelHeaders, find_headers, host_version_code, unpack
from tests.support.header_trees import CODE, RELEASE, headers
from tests.support.mounts import hidden_from
from tests.support.users import as_user


@pytest.fixture
def defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directories that are looked at by default, below a root of the test's."""
    root = tmp_path / "root"
    paths = tuple(f"{root}{path}" for path in kernel_headers.DEFAULT_DIRECTORIES)
    monkeypatch.setattr(kernel_headers, "DEFAULT_DIRECTORIES", paths)
    return root


def look(config: ProbeConfig, archive: Path | str = "/nonexistent/kheaders.tar.xz", **more: bool) -> KernelHeaders:
    return find_headers(config, RELEASE, CODE, str(archive), **more)


def refusal(config: ProbeConfig, archive: Path | str = "/nonexistent/kheaders.tar.xz") -> tuple[str, str]:
    with pytest.raises(HeaderError) as caught:
        look(config, archive)
    return HEADER_RESULTS[caught.value.result], str(caught.value)


@pytest.fixture
def config(tmp_path: Path) -> ProbeConfig:
    return ProbeConfig(kernel_header_download_dir=tmp_path / "downloads")


def test_the_kernels_version_is_the_one_that_uname_begins_with() -> None:
    code = host_version_code()
    major, minor = re.match(r"(\d+)\.(\d+)", os.uname().release).groups()  # type: ignore[union-attr]
    assert (code >> 16, code >> 8 & 255) == (int(major), int(minor))


def test_configured_directories_come_first_and_alone(defaults: Path, tmp_path: Path) -> None:
    headers(defaults / f"usr/src/linux-headers-{RELEASE}")
    build, common = headers(tmp_path / "build", is_complete=False), headers(tmp_path / "common", None)
    link = tmp_path / "link"
    link.symlink_to(build)
    found = look(ProbeConfig(kernel_header_dirs=[build, link, tmp_path / "missing", common]))
    assert (HEADER_RESULTS[found.result], found.directories) == ("custom", (build, common))
    result, text = refusal(ProbeConfig(kernel_header_dirs=[build], kernel_header_download_dir=tmp_path / "none"))
    assert result == "validation_failure"
    assert f"kernel_header_dirs: {build} lack include/linux/kconfig.h" in text
    assert "the usual directories" not in text


def test_configured_directories_that_are_missing_are_named(tmp_path: Path) -> None:
    file, build = tmp_path / "file", headers(tmp_path / "build", is_complete=False)
    file.touch()
    absent = f"{tmp_path}/x: ENOENT, no such file or directory; {file} is no directory; 'a\\x00b' is not a name"
    for directories, reason, expected in (
        ([], "there are none", "not_found"),
        ([build], f"{build} lack include/linux/kconfig.h", "validation_failure"),
    ):
        places: list[str | Path] = [tmp_path / "x", *directories, file, "a\0b"]
        config = ProbeConfig(kernel_header_dirs=places, kernel_header_download_dir=tmp_path / "none")
        result, text = refusal(config)
        assert (result, text.partition(". Install ")[0]) == (
            expected,
            f"find the headers of kernel {RELEASE}: kernel_header_dirs: {reason}; {absent}",
        )


@pytest.mark.parametrize("path", kernel_headers.DEFAULT_DIRECTORIES)
def test_each_usual_directory_serves(defaults: Path, config: ProbeConfig, path: str) -> None:
    directory = headers(defaults / path.format(RELEASE).lstrip("/"))
    found = look(config)
    assert (HEADER_RESULTS[found.result], found.directories) == ("default", (directory,))


def test_headers_of_another_kernel_are_refused(defaults: Path, config: ProbeConfig) -> None:
    directory = headers(defaults / f"usr/src/linux-headers-{RELEASE}", CODE - 1)
    result, text = refusal(config)
    assert result == "validation_failure"
    assert text == (
        f"find the headers of kernel {RELEASE}: the usual directories: {directory} has LINUX_VERSION_CODE 393663 "
        "(6.1.191), the running kernel 393664 (6.1.192); /nonexistent/kheaders.tar.xz: it is not there "
        "(CONFIG_IKHEADERS). Install them (apt install linux-headers-$(uname -r), dnf install "
        "kernel-devel-$(uname -r)), or set system_probe_config.enable_kernel_header_download to true"
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="gives files away, as only root can")
@pytest.mark.parametrize("what", ["", "include/generated/uapi/linux/version.h"])
def test_headers_that_another_user_could_have_changed_are_refused(
    defaults: Path, config: ProbeConfig, what: str
) -> None:
    directory = headers(defaults / f"usr/src/linux-headers-{RELEASE}")
    os.chown(directory / what, 12345, -1)
    _, text = refusal(config)
    assert f"the usual directories: read {directory / what}: it belongs to user 12345, who could have" in text


def archive_of(path: Path, members: dict[str, bytes], links: dict[str, str] | None = None) -> Path:
    with tarfile.open(path, "w:xz") as archive:
        for name, data in members.items():
            item = tarfile.TarInfo(name)
            item.size = len(data)
            archive.addfile(item, io.BytesIO(data))
        for name, target in (links or {}).items():
            item = tarfile.TarInfo(name)
            item.type, item.linkname = tarfile.SYMTYPE, target
            archive.addfile(item)
    return path


MEMBERS = {
    "./include/linux/types.h": b"",
    "./include/linux/kconfig.h": b"",
    "./include/generated/uapi/linux/version.h": f"#define LINUX_VERSION_CODE {CODE}\n".encode(),
}


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where this user's directories are by default."""
    directory = tmp_path / "cache"
    monkeypatch.setattr("ebpf_runtime.build_directory._ROOTS_DIRECTORY", str(directory / "ebpf-runtime"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(directory))
    return directory


@pytest.mark.usefixtures("defaults")
def test_the_kernels_own_archive_is_unpacked_once(cache: Path, tmp_path: Path, config: ProbeConfig) -> None:
    archive = archive_of(tmp_path / "kheaders.tar.xz", MEMBERS)
    assert look(config, archive, look_only=True).directories == (archive,)
    assert not cache.exists()
    found = look(config, archive)
    assert HEADER_RESULTS[found.result] == "sysfs"
    (directory,) = found.directories
    assert re.fullmatch(rf"{RELEASE}-[0-9a-f]{{16}}", directory.name)
    assert (directory / "include/linux/types.h").is_file()
    archive.unlink()
    assert look(config, archive).directories == (directory,)


@pytest.mark.usefixtures("defaults", "cache")
def test_kernels_of_one_version_have_a_tree_each(
    tmp_path: Path, config: ProbeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Flavours have releases of their own; of a kernel that was built anew, only what uname calls version differs."""
    archive = archive_of(tmp_path / "kheaders.tar.xz", MEMBERS)
    here = os.uname()
    found = []
    for release, version in (("6.1.0-cloud", "#1"), ("6.1.0-rt", "#1"), ("6.1.0-rt", "#2")):
        system = os.uname_result((here.sysname, here.nodename, release, version, here.machine))
        with monkeypatch.context() as patch:
            patch.setattr(os, "uname", lambda system=system: system)
            found.append(find_headers(config, version_code=CODE, archive=str(archive)).directories[0])
    assert len(set(found)) == 3


@pytest.mark.usefixtures("defaults")
def test_two_starts_unpack_the_archive_at_once(
    cache: Path, tmp_path: Path, config: ProbeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = archive_of(tmp_path / "kheaders.tar.xz", MEMBERS)
    both = threading.Barrier(2, timeout=20)

    def slowly(archive: Path, target: Path) -> None:
        unpack(archive, target)
        both.wait()

    monkeypatch.setattr(kernel_headers, "unpack", slowly)
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda _: look(config, archive).directories, range(2))
    assert first == second
    assert [path.name for path in (cache / "ebpf-runtime/kheaders").iterdir()] == [first[0].name]


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts, as only root can")
@pytest.mark.usefixtures("defaults")
def test_an_archive_that_cannot_be_unpacked_for_want_of_space_is_one_reason_more(
    cache: Path, tmp_path: Path, config: ProbeConfig
) -> None:
    archive = archive_of(tmp_path / "kheaders.tar.xz", MEMBERS)
    directory = cache / "ebpf-runtime/kheaders"
    directory.mkdir(parents=True, mode=0o700)

    def said() -> str:
        run(["mount", "-t", "tmpfs", "-o", "nr_inodes=1,mode=0700", "none", str(directory)], check=True)
        return refusal(config, archive)[1]

    (place,) = re.findall(rf"{archive}: unpack it to {directory}/\S+: (.*)\. Install", hidden_from(said))
    assert place == "ENOSPC, no space left on device"


@pytest.mark.parametrize("name", ["../outside", "/etc/outside", "include/../../outside"])
def test_a_member_that_would_lie_outside_is_refused(tmp_path: Path, name: str) -> None:
    target = tmp_path / "target"
    target.mkdir()
    archive = archive_of(tmp_path / "a.tar.xz", {name: b"evil"})
    with pytest.raises(HeaderError) as caught:
        unpack(archive, target)
    assert str(caught.value) == f"unpack {archive}: its member {name!r} is refused"
    assert not list(target.iterdir())


def test_links_in_an_archive_are_left_out(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir()
    archive = archive_of(tmp_path / "a.tar.xz", {"include/x.h": b"x"}, {"include/y.h": "/etc/passwd"})
    unpack(archive, target)
    assert [path.name for path in (target / "include").iterdir()] == ["x.h"]


def test_a_damaged_archive_is_named(tmp_path: Path) -> None:
    archive = archive_of(tmp_path / "a.tar.xz", {f"include/{number}.h": os.urandom(999) for number in range(99)})
    archive.write_bytes(archive.read_bytes()[:20000])
    target = tmp_path / "target"
    target.mkdir()
    with pytest.raises(HeaderError, match=f"^unpack {archive}: "):
        unpack(archive, target)


def downloaded(config: ProbeConfig) -> Path:
    """Where headers that were downloaded for RELEASE lie."""
    root = config.kernel_header_download_dir
    assert root is not None
    return Path(root) / f"ebpf-runtime-{RELEASE}" / f"usr/src/linux-headers-{RELEASE}"


@pytest.mark.usefixtures("defaults")
@pytest.mark.parametrize("is_allowed", [False, True])
def test_what_is_not_ours_where_downloads_go_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_allowed: bool
) -> None:
    """Such a place is /lib/modules, which has a directory named after the release."""
    monkeypatch.setenv("PATH", str(tmp_path))  # no package manager
    module = tmp_path / "modules" / RELEASE / "kernel/fs/ext4.ko"
    module.parent.mkdir(parents=True)
    module.touch()
    for path in (tmp_path / "modules", tmp_path / "modules" / RELEASE):
        path.chmod(0o700)
    config = ProbeConfig(kernel_header_download_dir=tmp_path / "modules", enable_kernel_header_download=is_allowed)
    result, _ = refusal(config)
    assert result == ("download_failure" if is_allowed else "not_found")
    assert [path for path in (tmp_path / "modules").rglob("*") if path.is_file()] == [module]
    assert [path.name for path in (tmp_path / "modules").iterdir()] == [RELEASE]


@pytest.mark.usefixtures("defaults")
@pytest.mark.parametrize("is_allowed", [False, True])
def test_downloaded_headers_that_others_could_have_changed_are_kept_to_be_mended(
    tmp_path: Path, is_allowed: bool
) -> None:
    config = ProbeConfig(kernel_header_download_dir=tmp_path / "d", enable_kernel_header_download=is_allowed)
    directory = headers(downloaded(config))
    directory.chmod(0o775)
    step = "set system_probe_config.enable_kernel_header_download to true"
    if is_allowed:
        step = f"delete {tmp_path}/d/ebpf-runtime-{RELEASE}"
    assert refusal(config) == (
        "validation_failure",
        f"find the headers of kernel {RELEASE}: the usual directories: there are none; /nonexistent/kheaders.tar.xz: "
        f"it is not there (CONFIG_IKHEADERS); downloaded before: read {directory}: it has mode 0775, so others could "
        f"have changed it. Take that away (chmod go-w {directory}). Install them (apt install linux-headers-$(uname "
        f"-r), dnf install kernel-devel-$(uname -r)), or {step}",
    )
    directory.chmod(0o755)
    assert look(config).directories == (directory,)


@pytest.mark.usefixtures("defaults")
def test_downloaded_headers_that_do_not_serve_are_kept_where_none_may_be_downloaded(config: ProbeConfig) -> None:
    directory = headers(downloaded(config), is_complete=False)
    _, text = refusal(config)
    assert f"downloaded before: {directory} lack include/linux/kconfig.h. Install them " in text
    assert directory.is_dir()


@pytest.mark.usefixtures("defaults")
def test_looking_makes_no_directory(cache: Path) -> None:
    with pytest.raises(HeaderError, match=r"it is not there\. Install them "):
        look(ProbeConfig(), look_only=True)
    assert not cache.exists()
    with pytest.raises(HeaderError, match=r", or load a probe that needs them, which downloads them$"):
        look(ProbeConfig(enable_kernel_header_download=True), look_only=True)
    assert not cache.exists()


@pytest.mark.usefixtures("defaults")
def test_looking_is_not_stopped_by_a_directory_that_does_not_serve(cache: Path) -> None:
    cache.mkdir()
    cache.chmod(0o777)
    assert HEADER_RESULTS[host_facts(ProbeConfig()).header_result] == "not_found"
    assert not list(cache.iterdir())
    config = ProbeConfig(enable_kernel_header_download=True)
    assert refusal(config) == (
        "download_failure",
        f"use directory {cache}/ebpf-runtime/kernel-headers/ebpf-runtime-{RELEASE}: {cache} has mode 0777, others can "
        "write there. Set system_probe_config.kernel_header_download_dir to a directory of your own",
    )
    with pytest.raises(HeaderError) as caught:
        look(ProbeConfig())
    assert (
        f"; /nonexistent/kheaders.tar.xz: use directory {cache}/ebpf-runtime/kheaders: {cache} has mode 0777, others "
        "can write there. Name the directories of this kernel's headers by system_probe_config.kernel_header_dirs. "
        "Install them "
    ) in str(caught.value)


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user, as only root can")
@pytest.mark.parametrize("home", ["/nonexistent", "private"])
def test_looking_ends_well_for_a_user_who_may_not_look(
    defaults: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, home: str
) -> None:
    (tmp_path / "private").mkdir(mode=0o700)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / home))
    for path in (tmp_path, *tmp_path.parents[:2]):
        path.chmod(0o755)
    directory = headers(defaults / f"usr/src/linux-headers-{RELEASE}")

    def said() -> str:
        with pytest.raises(HeaderError) as caught:
            look(ProbeConfig(), look_only=True)
        return str(caught.value)

    directory.chmod(0o700)
    assert f": the usual directories: {directory} lack include/linux/types.h; " in as_user(12345, said)
    directory.chmod(0o755)
    version = directory / "include/generated/uapi/linux/version.h"
    version.chmod(0o600)
    assert f": the usual directories: read {version}: EACCES, permission denied. Check the path; " in as_user(
        12345, said
    )


def test_what_archives_and_downloads_need_is_not_imported_to_look() -> None:
    """An object that is kept is found by the headers' identity: the more is imported for that, the later it starts."""
    script = f"import sys; sys.path[:] = {sys.path!r}; import ebpf_runtime.kernel_headers"
    script += "; print({'tarfile', 'lzma', 'subprocess'} & {*sys.modules})"
    command = [sys.executable, "-S", "-E", "-c", script]
    assert run(command, capture_output=True, text=True, check=True).stdout == "set()\n"


@pytest.mark.usefixtures("defaults", "cache")
def test_a_download_directory_that_has_no_name_is_refused() -> None:
    config = ProbeConfig(kernel_header_download_dir="/a\0b", enable_kernel_header_download=True)
    path = f"/a\0b/ebpf-runtime-{RELEASE}"
    assert refusal(config) == (
        "download_failure",
        f"use directory {path!r}: its name has a control character, which no list of files and no line of a log can "
        "hold. "
        "Set system_probe_config.kernel_header_download_dir to a directory of your own",
    )
