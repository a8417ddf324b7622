"""How long the threads of a process have run, as the kernel counts it."""

from pathlib import Path


def cpu_ns(pid: int) -> int:
    """Nanoseconds that the threads of a process have run; those that have ended are not among them."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            total += int((task / "schedstat").read_text().split()[0])
        except FileNotFoundError:  # It has just ended.
            continue
    return total
