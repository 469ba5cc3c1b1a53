"""What a process holds of the memory that it needed once."""

import contextlib
import ctypes
import gc
import sys

LARGE_BLOCK = 4 << 20
_M_MMAP_THRESHOLD = -3


def give_back_large_blocks() -> None:
    """Has blocks of 4 MiB and more go back to the system once they are freed. For the beginning of a process.

    Else glibc keeps what it was once asked for, up to 32 MB in each of its arenas: a password's hash takes 19 MiB for
    some 50 ms.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):  # other C libraries have nothing like it
            ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, LARGE_BLOCK)


def settle() -> None:
    """Gives back what a start took and no longer needs, once a process serves.

    Importing leaves some 12 MB of freed memory in the C library's hands; it goes back to the system. What was made so
    far lives as long as the process: the garbage collector need not go through it again and again.
    """
    gc.collect()
    gc.freeze()
    if sys.platform == "linux":
        # glibc's alone: others have nothing like it, or need nothing.
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)
