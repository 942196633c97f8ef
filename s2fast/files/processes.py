"""Whether a process of this machine still runs."""

from __future__ import annotations

import os


def is_alive(pid: int) -> bool:
    """Return whether a process with that id exists on this machine."""
    if os.name == "nt":
        return _is_alive_on_windows(pid)
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def _is_alive_on_windows(pid: int) -> bool:
    """Ask for the process's exit code: there, `os.kill` with signal 0 would interrupt it."""
    import ctypes

    query_limited_information, still_active, access_denied = 0x1000, 259, 5
    kernel = ctypes.WinDLL("kernel32", use_last_error=True)  # type: ignore[attr-defined]
    process = kernel.OpenProcess(query_limited_information, False, pid)
    if not process:
        return bool(ctypes.get_last_error() == access_denied)  # type: ignore[attr-defined]
    code = ctypes.c_ulong()
    kernel.GetExitCodeProcess(process, ctypes.byref(code))
    kernel.CloseHandle(process)
    return code.value == still_active
