"""Memory of large bodies is the system's again once they are done with."""

import subprocess
import sys

PROGRAM = """
import sys
from pathlib import Path
from limpet_extproc.request.large_memory import give_back_large_memory

def resident_mb():
    (line,) = [each for each in Path("/proc/self/status").read_text().splitlines() if each.startswith("VmRSS")]
    return int(line.split()[1]) / 1000

if sys.argv[1:]:
    assert give_back_large_memory()
before = resident_mb()
for _ in range(4):
    bodies = [bytearray(31 << 20) for _ in range(3)]
    small = [bytes(500) for _ in range(1000)]
    del bodies
print(resident_mb() - before)
"""


def kept_mb(*arguments: str) -> float:
    done = subprocess.run([sys.executable, "-c", PROGRAM, *arguments], capture_output=True, text=True, check=True)
    return float(done.stdout)


def test_a_large_body_leaves_nothing_behind() -> None:
    assert kept_mb("give back") < 16 < kept_mb(), "without it the C library keeps what it was given"
