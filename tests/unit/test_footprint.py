"""What a process holds of the memory that it needed once."""

import subprocess
import sys

import pytest

# Takes and gives back twice what a password's hash needs, on a thread, as it does.
HASHES = """
import ctypes, sys, threading
from aac_grpc.common.footprint import give_back_large_blocks

if sys.argv[1] == "give back":
    give_back_large_blocks()
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
done, wait = threading.Event(), threading.Event()

def hash():
    for _ in range(2):
        block = libc.malloc(19 << 20)
        ctypes.memset(block, 1, 19 << 20)
        libc.free(ctypes.c_void_p(block))
    done.set()
    wait.wait()

def resident():
    return int(open("/proc/self/statm").read().split()[1]) >> 8

before = resident()
threading.Thread(target=hash).start()
done.wait()
print(resident() - before)
wait.set()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's alone")
def test_what_a_hash_of_a_password_took_goes_back_to_the_system() -> None:
    held = [
        int(subprocess.run([sys.executable, "-c", HASHES, how], capture_output=True, check=True).stdout)
        for how in ("keep", "give back")
    ]
    assert held[0] >= 15  # MiB: or this tests nothing
    assert held[1] < 5
