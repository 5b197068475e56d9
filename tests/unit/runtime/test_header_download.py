# SPDX-License-Identifier: Apache-2.0
"""Headers downloaded by apt, dnf and zypper themselves, from repositories made here, without a network."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from ebpf_codegen import btf
from ebpf_codegen.compiler import find_compiler
from ebpf_codegen.header_types import header_types
from ebpf_runtime import ProbeConfig
from ebpf_runtime.config import HEADER_RESULTS
from ebpf_runtime.kernel_headers import HeaderError, KernelHeaders, find_headers
from ebpf_runtime.specs import architecture
from tests.support.header_trees import CODE, RELEASE, headers

NEXT_STEP = (
    ". Enable a repository that has the headers of this kernel, or name their directories by "
    "system_probe_config.kernel_header_dirs"
)


def look(directory: Path, release: str, *, is_allowed: bool = True) -> KernelHeaders:
    config = ProbeConfig(kernel_header_download_dir=directory, enable_kernel_header_download=is_allowed)
    return find_headers(config, release, CODE, "/nonexistent/kheaders.tar.xz")


def refusal(directory: Path, release: str) -> str:
    """Return why nothing was downloaded, which leaves nothing behind."""
    with pytest.raises(HeaderError) as caught:
        look(directory, release)
    assert HEADER_RESULTS[caught.value.result] == "download_failure"
    assert not list(directory.iterdir())
    return str(caught.value)


@pytest.fixture
def debian(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """APT that knows one repository: a folder with two packages, laid out as Debian's are."""
    for command in ("apt-get", "dpkg-deb"):
        if shutil.which(command) is None:
            pytest.skip(f"there is no {command}")
    pool = tmp_path / "pool"
    pool.mkdir()
    source = tmp_path / "source"
    specific = f"linux-headers-{RELEASE}"
    common = "linux-headers-6.1.0-99-common"
    headers(source / specific / "usr/src" / specific, is_complete=False)
    modules = source / specific / "lib/modules" / RELEASE
    modules.mkdir(parents=True)
    (modules / "build").symlink_to(f"/usr/src/{specific}")
    headers(source / common / "usr/src" / common, None)
    index = ""
    for name, depends in ((specific, f"{common} (= 6.1.192-1), linux-kbuild-6.1"), (common, "")):
        control = source / name / "DEBIAN" / "control"
        control.parent.mkdir()
        fields = f"Package: {name}\nVersion: 6.1.192-1\nArchitecture: all\nMaintainer: t <t@example.org>\n"
        fields += f"Depends: {depends}\n" if depends else ""
        control.write_text(f"{fields}Description: test\n")
        package = pool / f"{name}_6.1.192-1_all.deb"
        build = ["dpkg-deb", "--root-owner-group", "--build", str(source / name), str(package)]
        subprocess.run(build, check=True, capture_output=True)
        data = package.read_bytes()
        index += f"{fields}Filename: ./{package.name}\nSize: {len(data)}\n"
        index += f"SHA256: {hashlib.sha256(data).hexdigest()}\nDescription: test\n\n"
    (pool / "Packages").write_text(index)
    state = tmp_path / "apt"
    for folder in ("lists/partial", "cache/archives/partial", "etc"):
        (state / folder).mkdir(parents=True)
    (state / "sources.list").write_text(f"deb [trusted=yes] file:{pool} ./\n")
    (state / "status").touch()
    settings = {
        "Dir::State": state, "Dir::State::lists": state / "lists", "Dir::State::status": state / "status",
        "Dir::Cache": state / "cache", "Dir::Etc::sourcelist": state / "sources.list", "Dir::Etc::sourceparts": "-",
        "Dir::Etc::parts": state / "etc", "Dir::Etc::preferencesparts": "-", "APT::Sandbox::User": "root",
    }  # fmt: skip
    (state / "apt.conf").write_text("".join(f'{key} "{value}";\n' for key, value in settings.items()))
    monkeypatch.setenv("APT_CONFIG", str(state / "apt.conf"))
    subprocess.run(["apt-get", "-q", "update"], check=True, capture_output=True)


@pytest.mark.usefixtures("debian")
def test_headers_are_downloaded_by_apt_if_that_is_allowed(tmp_path: Path) -> None:
    downloads = tmp_path / "downloads"
    with pytest.raises(HeaderError, match=r"set system_probe_config\.enable_kernel_header_download to true$"):
        look(downloads, RELEASE, is_allowed=False)
    found = look(downloads, RELEASE)
    assert HEADER_RESULTS[found.result] == "downloaded"
    assert [path.name for path in found.directories] == [f"linux-headers-{RELEASE}", "linux-headers-6.1.0-99-common"]
    assert downloads.stat().st_mode & 0o777 == 0o700
    again = look(downloads, RELEASE, is_allowed=False)
    assert (HEADER_RESULTS[again.result], again.directories) == ("previously_downloaded", found.directories)
    # What is not complete any more is downloaded anew.
    shutil.rmtree(found.directories[0] / "include")
    shutil.rmtree(found.directories[1] / "include")
    assert HEADER_RESULTS[look(downloads, RELEASE).result] == "downloaded"


@pytest.mark.usefixtures("debian")
def test_a_release_that_apt_does_not_find_is_named(tmp_path: Path) -> None:
    assert refusal(tmp_path / "downloads", "6.1.0-98-test") == (
        "run apt-get -q download linux-headers-6.1.0-98-test: E: Unable to locate package linux-headers-6.1.0-98-test"
        f"{NEXT_STEP}"
    )


MACHINE = os.uname().machine
# As both distributions name the releases of their kernels, and lay the headers out.
FEDORA_RELEASE = f"6.1.192-99.fc99.{MACHINE}"
FEDORA_DEBUG = f"{FEDORA_RELEASE}+debug"
SUSE_RELEASE = "6.1.192-99-default"
SUSE_LONGTERM = "6.1.192-99-longterm"
SUSE_FOLDER = {"aarch64": "arm64"}.get(MACHINE, MACHINE)
FEDORA = """\
Name: kernel{variant}-devel
Version: 6.1.192
Release: 99.fc99
Provides: kernel-devel-uname-r = {release}
Requires: perl-interpreter
"""
SUSE_OBJ = """\
Name: kernel-{flavour}-devel
Version: 6.1.192
Release: 99.1
Provides: kernel-{flavour}-devel = 6.1.192-99
Requires: kernel-devel{variant} = 6.1.192-99
Requires: libelf-devel
"""
SUSE = """\
Name: kernel-devel{variant}
Version: 6.1.192
Release: 99.2
Provides: kernel-devel{variant} = 6.1.192-99
BuildArch: noarch
"""
SPEC = """\
Summary: test
License: GPL-2.0
AutoReqProv: no
%description
test
%install
cp -a {tree}/. %{{buildroot}}
%files
%defattr(-, root, root)
{files}
"""


class Repositories(NamedTuple):
    """Repositories of both distributions, one directory each."""

    signed: Path
    unsigned: Path
    key: Path


def run(*command: str | Path) -> str:
    return subprocess.run([*map(str, command)], check=True, capture_output=True, text=True).stdout


def need(*commands: str) -> None:
    for command in commands:
        if shutil.which(command) is None:
            pytest.skip(f"there is no {command}")


def configured(directory: Path, *, size: int) -> Path:
    """Give a tree what the kernel's own has: a configuration, and a structure that depends on it."""
    (directory / "include/linux/kconfig.h").write_text("#include <generated/autoconf.h>\n")
    (directory / "include/linux/sched.h").write_text(
        "#include <linux/types.h>\nstruct task_struct { char comm[CONFIG_COMM_BYTES]; int pid; };\n"
    )
    (directory / "include/generated").mkdir(exist_ok=True)
    (directory / "include/generated/autoconf.h").write_text(f"#define CONFIG_COMM_BYTES {size}\n")
    return directory


def package(work: Path, target: Path, fields: str, tree: Path) -> None:
    """Build one package of a tree of files."""
    files = "\n".join(f"/{path.relative_to(tree)}" for path in sorted(tree.rglob("*")) if not path.is_dir())
    spec = work / "package.spec"
    spec.write_text(fields + SPEC.format(tree=tree, files=files))
    run("rpmbuild", "-bb", "--quiet", "--define", f"_topdir {work / 'build'}", "--define", f"_rpmdir {target}", spec)


def fedora(work: Path, target: Path, release: str, variant: str = "") -> None:
    """Build the package of one kernel as Fedora has it."""
    tree = work / f"fedora{variant}"
    configured(headers(tree / "usr/src/kernels" / release), size=24)
    package(work, target, FEDORA.format(release=release, variant=variant), tree)


def suse(work: Path, target: Path, release: str, variant: str = "") -> None:
    """Build the two packages of one kernel as openSUSE has it: what was generated for it, and the common part."""
    flavour = release.rpartition("-")[2]
    common, obj = work / f"suse{variant}", work / f"suse-{flavour}-obj"
    name = f"usr/src/linux-6.1.192-99{variant}"
    source = configured(headers(common / name), size=24)
    generated = obj / f"{name}-obj" / SUSE_FOLDER / flavour / "include/generated"
    generated.parent.mkdir(parents=True)
    (source / "include/generated").rename(generated)
    modules = obj / "lib/modules" / release
    modules.mkdir(parents=True)
    (modules / "build").symlink_to(f"/{name}-obj/{SUSE_FOLDER}/{flavour}")
    (modules / "source").symlink_to(f"/{name}")
    package(work, target, SUSE_OBJ.format(flavour=flavour, variant=variant), obj)
    package(work, target, SUSE.format(variant=variant), common)


@pytest.fixture(scope="module")
def repositories(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Repositories]:
    """Packages named and laid out as Fedora's and openSUSE's, signed by a key that lives as long as these tests."""
    need("rpmbuild", "rpmsign", "rpmkeys", "rpm2cpio", "cpio", "createrepo_c", "gpg", "gpgconf")
    work = tmp_path_factory.mktemp("rpm")
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory(prefix="gpg-") as home:
        patch.setenv("HOME", str(work))  # where Debian's rpm has its database
        unsigned, signed = work / "unsigned", work / "signed"
        fedora(work, unsigned / "dnf", FEDORA_RELEASE)
        fedora(work, unsigned / "dnf", FEDORA_DEBUG, "-debug")
        suse(work, unsigned / "zypper", SUSE_RELEASE)
        suse(work, unsigned / "zypper", SUSE_LONGTERM, "-longterm")
        patch.setenv("GNUPGHOME", home)  # a short path: gpg's agent has a socket there
        run("gpg", "--batch", "--passphrase", "", "--quick-gen-key", "Test <test@example.org>", "rsa2048", "sign")
        (work / "key.asc").write_text(run("gpg", "--batch", "--export", "--armor"))
        shutil.copytree(unsigned, signed)
        gpg = f"__gpg {shutil.which('gpg')}"
        run("rpmsign", "--addsign", "--define", "_gpg_name Test", "--define", gpg, *signed.rglob("*.rpm"))
        for kind in (signed, unsigned):
            for manager in ("dnf", "zypper"):
                indexed(kind / manager, work / "key.asc")
        yield Repositories(signed, unsigned, work / "key.asc")
        run("gpgconf", "--kill", "all")


def indexed(repository: Path, key: Path) -> None:
    """Write the lists of a repository, and sign them."""
    run("createrepo_c", "--quiet", repository)
    lists = repository / "repodata/repomd.xml"
    run("gpg", "--batch", "--yes", "--armor", "--detach-sign", lists)
    shutil.copyfile(key, f"{lists}.key")


class Host(NamedTuple):
    """A system that has one package manager, which knows one repository."""

    manager: str
    release: str
    root: Path
    repository: Path
    key: Path

    @property
    def downloads(self) -> Path:
        return self.root / "downloads"

    @property
    def command(self) -> str:
        """What is run, up to the release that is asked for."""
        scratch = rf"{re.escape(str(self.downloads))}/[\w.-]+/\.download-\w+"
        if self.manager == "dnf":
            return rf"run dnf -q -y download --destdir {scratch} kernel-devel-uname-r = "
        return rf"run zypper --quiet --non-interactive --pkg-cache-dir {scratch}/0 download kernel-default-devel = "

    def trust(self) -> None:
        run("rpmkeys", "--dbpath", self.root / "var/lib/rpm", "--import", self.key)

    def enter(self, patch: pytest.MonkeyPatch) -> None:
        """Let the runtime find these tools only: the real ones, told which root is theirs."""
        real = {name: shutil.which(name) for name in ("dnf", "zypper", "rpmkeys", "rpm", "rpm2cpio", "cpio", "sh")}
        tools = self.root / "bin"
        tools.mkdir()
        options = {
            "dnf": f"--config {self.root}/dnf.conf --releasever 99",
            "zypper": f"--root {self.root}",
            "rpmkeys": f"--dbpath {self.root}/var/lib/rpm",
        }
        for name in (self.manager, "rpmkeys", "rpm", "rpm2cpio", "cpio", "sh"):
            if name in options:
                (tools / name).write_text(
                    f'#!/bin/sh\nPATH={os.environ["PATH"]} exec {real[name]} {options[name]} "$@"\n'
                )
                (tools / name).chmod(0o755)
            else:
                (tools / name).symlink_to(real[name] or "")
        patch.setenv("HOME", str(self.root))
        patch.setenv("ZYPP_LOGFILE", str(self.root / "zypper.log"))
        patch.setenv("PATH", str(tools))


@pytest.fixture(params=["dnf", "zypper"])
def host(request: pytest.FixtureRequest, repositories: Repositories, tmp_path: Path) -> Host:
    manager = request.param
    need(manager)
    root = tmp_path
    repository = root / "repository"
    shutil.copytree(repositories.signed / manager, repository)
    release = FEDORA_RELEASE if manager == "dnf" else SUSE_RELEASE
    for folder in ("var/lib/rpm", "etc/zypp/repos.d", "downloads"):
        (root / folder).mkdir(parents=True)
    (root / "downloads").chmod(0o700)
    (root / "etc/zypp/repos.d/test.repo").write_text(
        f"[test]\nname=test\nenabled=1\nbaseurl=file://{repository}\ngpgcheck=1\n"
    )
    (root / "dnf.conf").write_text(
        f"[main]\nreposdir={root}/etc/zypp/repos.d\ncachedir={root}/cache\nlogdir={root}\npersistdir={root}/persist\n"
    )
    question = ["dnf", "--config", f"{root}/dnf.conf", "download", "--help"]
    if manager == "dnf" and subprocess.run(question, capture_output=True, check=False).returncode:
        pytest.skip("there is no dnf download (of dnf-plugins-core)")
    return Host(manager, release, root, repository, repositories.key)


def first(repository: Path) -> Path:
    """Return the package that is asked for first."""
    (found,) = (*repository.rglob("kernel-devel-*.fc99.*.rpm"), *repository.rglob("kernel-default-devel-*.rpm"))
    return found


def damage(file: Path) -> None:
    """Change the last byte, which is of what the package holds."""
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)


def test_headers_are_downloaded_verified_and_used(host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    host.trust()
    with monkeypatch.context() as patch:
        host.enter(patch)
        found = look(host.downloads, host.release)
        shutil.rmtree(host.repository)
        again = look(host.downloads, host.release, is_allowed=False)
    assert HEADER_RESULTS[found.result] == "downloaded"
    assert (HEADER_RESULTS[again.result], again.directories) == ("previously_downloaded", found.directories)
    below = [str(path.relative_to(host.downloads / f"ebpf-runtime-{host.release}")) for path in found.directories]
    assert below == (
        [f"usr/src/kernels/{host.release}"]
        if host.manager == "dnf"
        else [f"usr/src/linux-6.1.192-99-obj/{SUSE_FOLDER}/default", "usr/src/linux-6.1.192-99"]
    )
    assert [path for path in host.downloads.rglob("*") if path.is_symlink() or path.name.startswith(".")] == []
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    data, _ = header_types(find_compiler(), found.directories, ["struct task_struct"], architecture(), scratch)
    types = btf.read(data)
    number = types.find(btf.Struct, "task_struct")
    assert number is not None
    assert types.size(number) == 24 + 4


def test_headers_of_another_variant_are_downloaded(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.trust()
    release = FEDORA_DEBUG if host.manager == "dnf" else SUSE_LONGTERM
    with monkeypatch.context() as patch:
        host.enter(patch)
        found = look(host.downloads, release)
    assert [str(path.relative_to(host.downloads / f"ebpf-runtime-{release}")) for path in found.directories] == (
        [f"usr/src/kernels/{FEDORA_DEBUG}"]
        if host.manager == "dnf"
        else [
            f"usr/src/linux-6.1.192-99-longterm-obj/{SUSE_FOLDER}/longterm",
            "usr/src/linux-6.1.192-99-longterm",
        ]
    )


def test_a_package_that_is_not_signed_is_refused(
    host: Host, repositories: Repositories, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.trust()
    shutil.rmtree(host.repository)
    shutil.copytree(repositories.unsigned / host.manager, host.repository)
    with monkeypatch.context() as patch:
        host.enter(patch)
        said = refusal(host.downloads, host.release)
    assert said == f"verify {first(host.repository).name}: it is not signed. Use a repository of signed packages"


def test_a_package_whose_signer_is_not_known_is_refused(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    if host.manager == "zypper":  # it refuses already the lists, as the same key signed them
        expected = rf"{host.command}6\.1\.192-99: [^\n]*Signature verification failed for repomd\.xml[^\n]*"
        expected += re.escape(NEXT_STEP)
    else:
        name = re.escape(first(host.repository).name)
        expected = (
            rf"verify {name}: Header [\w ]*RSA/SHA\d+ [Ss]ignature, key [\w: ]+: NOKEY"
            r"\. rpm does not know the key: import the distribution's by rpm --import"
        )
    with monkeypatch.context() as patch:
        host.enter(patch)
        said = refusal(host.downloads, host.release)
    assert re.fullmatch(expected, said), said


def test_a_package_that_is_not_the_one_of_the_lists_is_refused(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.trust()
    damage(first(host.repository))
    with monkeypatch.context() as patch:
        host.enter(patch)
        said = refusal(host.downloads, host.release)
    asked = re.escape(host.release.removesuffix("-default"))
    assert re.fullmatch(rf"{host.command}{asked}: [^\n]+{re.escape(NEXT_STEP)}", said), said
    assert re.search("incorrect checksum|Cannot download|corrupted", said), said


@pytest.mark.usefixtures("repositories")
def test_a_package_that_was_changed_along_with_the_lists_is_refused(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.trust()
    damage(first(host.repository))
    indexed(host.repository, host.key)
    with monkeypatch.context() as patch:
        host.enter(patch)
        said = refusal(host.downloads, host.release)
    name = re.escape(first(host.repository).name)
    assert re.fullmatch(
        rf"verify {name}: Payload SHA256( ALT)? digest: BAD \(Expected \w+ != \w+\)\. "
        "It is damaged, or was changed after it was signed: use another mirror",
        said,
    ), said


def test_a_release_that_no_repository_has_is_named(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.trust()
    with monkeypatch.context() as patch:
        host.enter(patch)
        said = refusal(host.downloads, host.release.replace("-99", "-98"))
    if host.manager == "dnf":
        capability = f"kernel-devel-uname-r = 6.1.192-98.fc99.{MACHINE}"
        reason = rf"(Error: No package {capability} available|No package \"{capability}\" available; You might [\w -]+)"
        expected = rf"{host.command}6\.1\.192-98\.fc99\.{MACHINE}: {reason}"
    else:
        reason = r"(no repository has it|Argument resolves to no package: kernel-default-devel = 6\.1\.192-98)"
        expected = rf"{host.command}6\.1\.192-98: {reason}"
    assert re.fullmatch(expected + re.escape(NEXT_STEP), said), said


def test_a_repository_that_is_gone_is_named(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.trust()
    shutil.rmtree(host.repository)
    with monkeypatch.context() as patch:
        host.enter(patch)
        said = refusal(host.downloads, host.release)
    asked = re.escape(host.release.removesuffix("-default"))
    assert re.fullmatch(rf"{host.command}{asked}: [^\n]+{re.escape(NEXT_STEP)}", said), said
    assert re.search(r"repo(sitory)? [\"']test[\"']|\[test\|", said), said


@pytest.mark.parametrize(
    ("there", "said"),
    [
        (
            [],
            "download kernel headers: there is neither apt-get, nor zypper, nor dnf. Name their directories by "
            "system_probe_config.kernel_header_dirs",
        ),
        (
            ["dnf", "rpm", "rpmkeys"],
            "download kernel headers with dnf: there is no rpm2cpio, no cpio. Install what is missing",
        ),
        (
            ["dnf", "zypper", "rpm", "rpm2cpio", "cpio"],
            "download kernel headers with zypper: there is no rpmkeys. Install what is missing",
        ),
        (["apt-get", "dnf"], "download kernel headers with apt-get: there is no dpkg-deb. Install what is missing"),
    ],
)
def test_a_tool_that_is_missing_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: list[str], said: str
) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in there:
        (tools / name).touch(0o755)
    downloads = tmp_path / "downloads"
    with monkeypatch.context() as patch:
        patch.setenv("PATH", str(tools))
        assert refusal(downloads, RELEASE) == said
