# SPDX-License-Identifier: Apache-2.0
"""Things made to happen on purpose, so that checks have something to see."""
