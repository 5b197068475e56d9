# SPDX-License-Identifier: Apache-2.0
"""Where CMake finds `EbpfRuntimeConfig.cmake`; named by the entry point `cmake.root`."""
