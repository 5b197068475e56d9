# SPDX-License-Identifier: Apache-2.0
"""Checks that turn eBPF readings into metrics and events, and the command `ebpf-collector`.

Importing this package imports nothing else; take names from its modules.
"""
