"""Loads the compiled kernels of the default job, for the process from which tests/forked.py forks."""

from s2fast.work.compilation import MODULES
from s2fast_kernels.compiled import compile_module

for module in MODULES:
    compile_module(module)
