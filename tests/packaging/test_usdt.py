# SPDX-License-Identifier: Apache-2.0
"""A package's USDT probe: it builds where there are no headers of libbpf and of the kernel, and loads."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .conftest import Environment

pytestmark = pytest.mark.packaging

SOURCE = """\
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/usdt.bpf.h>

long goods = 0;
long cookie = 0;

SEC("usdt")
int sold(struct pt_regs *ctx)
{
	long count = 0;

	if (bpf_usdt_arg_cnt(ctx) != 1 || bpf_usdt_arg(ctx, 0, &count))
		return 0;
	goods += count;
	cookie = bpf_usdt_cookie(ctx);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
"""
FILES = {
    "shop.bpf.c": SOURCE,
    "CMakeLists.txt": """\
cmake_minimum_required(VERSION 3.20)
project(shop LANGUAGES NONE)
find_package(EbpfRuntime REQUIRED)
ebpf_add_probes(PACKAGE shop_probes SOURCES shop.bpf.c)
""",
    "pyproject.toml": """\
[build-system]
requires = ["ebpf-runtime[build]"]
build-backend = "ebpf_runtime.build"

[project]
name = "shop-probes"
version = "1.0"
dependencies = ["ebpf-runtime"]

[tool.scikit-build.wheel]
py-api = "py3"
platlib = false
""",
}
LOADED = """
from shop_probes.shop import Shop
with Shop.open_and_load() as probe:
    print(type(probe.programs.sold).__name__, probe.unattached, probe.bss.goods)
"""


@pytest.fixture(scope="module")
def shop(installed: Environment, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package's wheel, built while /usr/include was empty."""
    folder = tmp_path_factory.mktemp("shop")
    for name, text in FILES.items():
        (folder / name).write_text(text)
    return installed.build_wheel(folder, tmp_path_factory.mktemp("wheel"), hidden=[Path("/usr/include")])


def test_it_is_built_by_the_headers_of_the_wheel(shop: Path) -> None:
    with zipfile.ZipFile(shop) as archive:
        for architecture in ("x86_64", "arm64"):
            assert b"\0__bpf_usdt_specs\0" in archive.read(f"shop_probes/shop.{architecture}.bpf.o")


@pytest.mark.kernel
def test_it_loads(installed: Environment, shop: Path) -> None:
    installed.pip("install", "--no-deps", shop)
    assert installed.run("python", "-c", LOADED).stdout == "UsdtProgram {'sold': 'path'} 0\n"
