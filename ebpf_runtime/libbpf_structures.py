# SPDX-License-Identifier: Apache-2.0
"""Structures and callbacks of libbpf and of the compiled helper that a start does without.

Source: libbpf 1.1 src/libbpf.h, src/bpf.h.
"""

from __future__ import annotations

import ctypes
from _ctypes import FUNCFLAG_CDECL, CFuncPtr
from ctypes import c_bool, c_char_p, c_int, c_size_t, c_uint32, c_uint64, c_void_p

__all__ = [
    "PERF_LOST_CALLBACK",
    "PERF_SAMPLE_CALLBACK",
    "SAMPLE_CALLBACK",
    "GenLoaderOptions",
    "MapCreateOptions",
    "PlainFunction",
    "ProgramLoadOptions",
    "SystemCallOptions",
    "TestRunOptions",
    "UprobeOptions",
    "UsdtOptions",
    "Walked",
]


class PlainFunction(CFuncPtr):
    """A foreign function whose errno is not kept."""

    _flags_ = FUNCFLAG_CDECL


SAMPLE_CALLBACK = ctypes.CFUNCTYPE(c_int, c_void_p, c_void_p, c_size_t)
PERF_SAMPLE_CALLBACK = ctypes.CFUNCTYPE(None, c_void_p, c_int, c_void_p, c_uint32)
PERF_LOST_CALLBACK = ctypes.CFUNCTYPE(None, c_void_p, c_int, c_uint64)


class GenLoaderOptions(ctypes.Structure):
    """struct gen_loader_opts of libbpf 1.1; the blobs are libbpf's."""

    _fields_ = (
        ("sz", c_size_t),
        ("data", c_void_p),
        ("insns", c_void_p),
        ("data_sz", c_uint32),
        ("insns_sz", c_uint32),
    )


class UprobeOptions(ctypes.Structure):
    """struct bpf_uprobe_opts of libbpf 1.1."""

    _fields_ = (
        ("sz", c_size_t),
        ("ref_ctr_offset", c_size_t),
        ("bpf_cookie", c_uint64),
        ("retprobe", c_bool),
        ("func_name", c_char_p),
    )


class SystemCallOptions(ctypes.Structure):
    """struct bpf_ksyscall_opts of libbpf 1.1."""

    _fields_ = (
        ("sz", c_size_t),
        ("bpf_cookie", c_uint64),
        ("retprobe", c_bool),
    )


class UsdtOptions(ctypes.Structure):
    """struct bpf_usdt_opts of libbpf 1.1."""

    _fields_ = (
        ("sz", c_size_t),
        ("usdt_cookie", c_uint64),
    )


class Walked(ctypes.Structure):
    """struct walked of _walker.c: where a walk ended and what it counted."""

    _fields_ = (
        ("end", c_uint64),
        ("count", c_uint64),
        ("discarded", c_uint64),
        ("lost", c_uint64),
        ("smallest", c_uint64),
        ("largest", c_uint64),
    )


class MapCreateOptions(ctypes.Structure):
    """struct bpf_map_create_opts of libbpf 1.1."""

    _fields_ = (
        ("sz", c_size_t),
        ("btf_fd", c_uint32),
        ("btf_key_type_id", c_uint32),
        ("btf_value_type_id", c_uint32),
        ("btf_vmlinux_value_type_id", c_uint32),
        ("inner_map_fd", c_uint32),
        ("map_flags", c_uint32),
        ("map_extra", c_uint64),
        ("numa_node", c_uint32),
        ("map_ifindex", c_uint32),
    )


class ProgramLoadOptions(ctypes.Structure):
    """struct bpf_prog_load_opts of libbpf 1.1."""

    _fields_ = (
        ("sz", c_size_t),
        ("attempts", c_int),
        ("expected_attach_type", c_int),
        ("prog_btf_fd", c_uint32),
        ("prog_flags", c_uint32),
        ("prog_ifindex", c_uint32),
        ("kern_version", c_uint32),
        ("attach_btf_id", c_uint32),
        ("attach_prog_fd", c_uint32),
        ("attach_btf_obj_fd", c_uint32),
        ("fd_array", c_void_p),
        ("func_info", c_void_p),
        ("func_info_cnt", c_uint32),
        ("func_info_rec_size", c_uint32),
        ("line_info", c_void_p),
        ("line_info_cnt", c_uint32),
        ("line_info_rec_size", c_uint32),
        ("log_level", c_uint32),
        ("log_size", c_uint32),
        ("log_buf", c_void_p),
    )


class TestRunOptions(ctypes.Structure):
    """struct bpf_test_run_opts of libbpf 1.1."""

    _fields_ = (
        ("sz", c_size_t),
        ("data_in", c_void_p),
        ("data_out", c_void_p),
        ("data_size_in", c_uint32),
        ("data_size_out", c_uint32),
        ("ctx_in", c_void_p),
        ("ctx_out", c_void_p),
        ("ctx_size_in", c_uint32),
        ("ctx_size_out", c_uint32),
        ("retval", c_uint32),
        ("repeat", c_int),
        ("duration", c_uint32),
        ("flags", c_uint32),
        ("cpu", c_uint32),
        ("batch_size", c_uint32),
    )
