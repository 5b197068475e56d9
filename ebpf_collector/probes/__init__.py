# SPDX-License-Identifier: Apache-2.0
"""Probes as checks use them: opened, loaded and attached in one step, read by draining."""
