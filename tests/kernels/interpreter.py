"""Run tests of Triton kernels on a CUDA device where there is one; test_under_the_interpreter.py runs them always."""

import os

import pytest
import torch

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"

on_a_device = pytest.mark.skipif(
    not INTERPRETED and not torch.cuda.is_available(),
    reason="no CUDA device; test_under_the_interpreter.py runs these",
)

not_interpreted = pytest.mark.skipif(INTERPRETED, reason="asks for what the interpreter does not change")
