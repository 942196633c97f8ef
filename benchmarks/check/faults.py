"""The faults that `prove-check` injects: kinds that happened to real projects, all with equal results.

A change of the sources that moves the replaced text fails `tests/benchmarks/test_check_faults.py`.
"""

from __future__ import annotations

from benchmarks.check.faults_kernels import KERNEL_FAULTS
from benchmarks.check.faults_stages import STAGE_FAULTS

FAULTS = (*KERNEL_FAULTS, *STAGE_FAULTS)
"""All faults, in the order of trials."""
