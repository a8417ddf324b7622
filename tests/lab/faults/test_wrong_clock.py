"""The clock of the workers' machine in the fault campaign."""

import time
from pathlib import Path

from limpet_lab.bench.faults.extproc import wrong_clock


def test_it_is_as_wrong_as_its_file_says_now(tmp_path: Path) -> None:
    file = tmp_path / "clock"
    clock = wrong_clock(file)
    for wrong_by_s in (3600.0, -3600.0, 0.0):
        file.write_text(str(wrong_by_s))
        before = time.time()
        assert before + wrong_by_s <= clock() <= time.time() + wrong_by_s
