"""What `limpet bench mesh` makes of its runs."""

from limpet_lab.bench.latency_wrk import WrkRun
from limpet_lab.bench.mesh import report


def ran(p50_us: int, failed: int = 0) -> WrkRun:
    return WrkRun(3, failed, 1.0, {p50_us: 2, 2 * p50_us: 1})


def test_what_a_target_adds_is_taken_within_a_round() -> None:
    result = report(
        {
            "direct": [ran(100), ran(1000), ran(100)],
            "header_mode": [ran(1100), ran(2000), ran(1100)],
            "sidecar": [ran(1600), ran(2500), ran(1600, failed=1)],
        }
    )
    assert result["direct"] == {"p50_ms": 0.1, "p99_ms": 0.2, "failed": 0}
    assert result["header_mode"]["added_p50_ms"] == 1.0
    assert result["sidecar"]["added_p50_ms"] == 1.5
    assert result["sidecar"]["failed"] == 1
    assert result["ratio"] == 1.5
