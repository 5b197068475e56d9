# SPDX-License-Identifier: Apache-2.0
"""The sub-commands of `ebpf-codegen`: a module each, which adds its arguments and does its work."""
