"""The faults that `prove-check` injects: kinds that happened to real projects.

Only "another threshold of the detector" changes results. A change of the sources that moves the replaced text fails
`tests/benchmarks/test_check_faults.py`.
"""

from __future__ import annotations

from benchmarks.check.faults_files import FILE_FAULTS
from benchmarks.check.faults_kernels import KERNEL_FAULTS
from benchmarks.check.faults_stages import STAGE_FAULTS
from benchmarks.check.faults_waiting import WAITING_FAULTS

FAULTS = (*KERNEL_FAULTS, *STAGE_FAULTS, *FILE_FAULTS, *WAITING_FAULTS)
"""All faults, in the order of trials."""
