"""Memory that was freed and is still held."""

import ctypes


def give_back() -> None:
    """Return to the system what the C library holds of freed memory, where it can (glibc).

    By itself it returns only what lies behind all that is in use; what was needed to open very
    many files would be counted as this process's for ever.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
