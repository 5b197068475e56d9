# SPDX-License-Identifier: Apache-2.0
"""From BPF C to typed Python: compile, read ELF and BTF, build a model, print a bindings module."""
