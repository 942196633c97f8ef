"""Run tests of Triton kernels on a CUDA device where there is one; test_under_the_interpreter.py runs them always."""

import inspect
import os
from typing import Any

import pytest
import torch

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"

on_a_device = pytest.mark.skipif(
    not INTERPRETED and not torch.cuda.is_available(),
    reason="no CUDA device; test_under_the_interpreter.py runs these",
)

not_interpreted = pytest.mark.skipif(INTERPRETED, reason="asks for what the interpreter does not change")


def replace_language_once_a_launch() -> None:
    """Keep Triton's interpreter from replacing its language again at every call of a device function.

    It lists all members of the language's modules each time: a quarter of what our kernels take there.
    """
    from triton.runtime import interpreter

    replace = getattr(interpreter, "_patch_lang", None)
    if replace is None or not hasattr(interpreter, "_LangPatchScope"):
        return  # another version of Triton
    replaced: set[str] = set()

    def replace_once(function: Any) -> Any:
        modules = (value for value in function.__globals__.values() if inspect.ismodule(value))
        names = {module.__name__ for module in modules if module in (interpreter.tl, interpreter.tl.core)}
        if names and names <= replaced:
            return interpreter._LangPatchScope()
        scope = replace(function)
        if not replaced:  # this is the launch, which restores at its end
            restore = scope.restore
            scope.restore = lambda: (replaced.clear(), restore())
        replaced.update(names)
        return scope

    interpreter._patch_lang = replace_once


if INTERPRETED:
    replace_language_once_a_launch()
