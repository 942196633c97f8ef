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


def make_types_once() -> None:
    """Let Triton's interpreter share types of blocks that are equal, and tensors' shapes, which is faster.

    It makes a type, and describes it in words, for every value.
    """
    from triton.runtime import interpreter

    core = interpreter.tl.core
    make_type, types, shapes = core.block_type.__init__, {}, {}

    def init_type(self: Any, element_ty: Any, shape: Any) -> None:
        sides = tuple([side.value if isinstance(side, core.constexpr) else side for side in shape])
        key = element_ty.name, getattr(element_ty, "address_space", None), sides
        if key not in types:
            make_type(self, element_ty, shape)
            types[key] = dict(vars(self))
        vars(self).update(types[key])

    def init_tensor(self: Any, handle: Any, type: Any) -> None:  # noqa: A002
        key = tuple(type.shape) if type.is_block() else ()
        if key not in shapes:
            make_tensor(self, handle, type)
            shapes[key] = self.numel, self.shape
        self.handle, self.type, self.dtype = handle, type, type.scalar
        self.numel, self.shape = shapes[key]

    make_tensor = core.tensor.__init__
    if list(inspect.signature(make_type).parameters) == ["self", "element_ty", "shape"]:
        core.block_type.__init__ = init_type
    if list(inspect.signature(make_tensor).parameters) == ["self", "handle", "type"]:
        core.tensor.__init__ = init_tensor


if INTERPRETED:
    replace_language_once_a_launch()
    make_types_once()
