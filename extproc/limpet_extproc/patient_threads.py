"""Threads that wait for their turn: gRPC's own, beside the loop that decides."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress


@contextmanager
def patient_threads() -> Iterator[None]:
    """Threads that are started inside, and theirs, never interrupt another thread; they run when a core is free.

    gRPC's poller wakes for every packet and every finished operation. As a thread like any other it interrupts the loop
    each time, six times a request when all cores are busy; so it comes twice, and takes all that has gathered. Linux
    only, and without effect where a sandbox forbids it.
    """
    if sys.platform != "linux":
        yield
        return
    policy, param = os.sched_getscheduler(0), os.sched_getparam(0)
    with suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    try:
        yield
    finally:
        with suppress(OSError):
            os.sched_setscheduler(0, policy, param)
