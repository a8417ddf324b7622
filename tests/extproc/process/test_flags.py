"""The flags of ext_proc: which go together, and what is said of those that do not."""

from pathlib import Path

import pytest

from limpet_extproc.process.flags import BadStart, flags_parser, host_port, memory_key, problem, read_flags

ALWAYS = ["--control-plane=unix:/run/operator.sock", "--node=gateway-0"]
ONE = ["--socket=/run/extproc.sock"]
SEVERAL = ["--socket-dir=/run/limpet"]
SHARED = ["--redis-url=redis://redis:6379", "--memory-key-file=/etc/limpet/memory-key/key"]


@pytest.mark.parametrize(
    "flags",
    [
        ONE,
        [*ONE, "--metrics-port=9100"],
        [*ONE, *SHARED],
        [*ONE, "--memory-key-file=/key"],
        SEVERAL,
        [*SEVERAL, "--workers=4", *SHARED, "--http=[::]:9100", "--probes=[::]:9101", "--tls-dir=/etc/limpet/tls"],
        [*SEVERAL, "--workers=2", *SHARED, "--redis-credentials=/etc/limpet/redis", "--http=[::]:9100"],
    ],
)
def test_flags_that_go_together(flags: list[str]) -> None:
    assert problem(flags_parser().parse_args([*ALWAYS, *flags])) is None


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ([*SEVERAL, "--workers=0"], "at least one worker is needed"),
        ([*ONE, "--workers=2"], "give several a directory with --socket-dir DIR"),
        ([*ONE, "--http=0.0.0.0:9100"], "one worker has --metrics-port"),
        ([*ONE, "--probes=0.0.0.0:9101"], "--probes goes with --socket-dir DIR"),
        ([*SEVERAL, "--http=9100"], "--http 9100: not HOST:PORT, such as [::]:9100 or 0.0.0.0:9100"),
        ([*SEVERAL, "--probes=9101"], "--probes 9101: not HOST:PORT"),
        ([*SEVERAL, "--http=0.0.0.0:99999"], "not HOST:PORT"),
        ([*SEVERAL, "--metrics-port=9100"], "the metrics of all workers are at --http HOST:PORT"),
        ([*SEVERAL, "--workers=2"], "Give them a Redis to share, or run one worker"),
        ([*SEVERAL, "--workers=2", "--memory-key-file=/key"], "--workers 2 without --redis-url"),
        ([*SEVERAL, SHARED[0]], "Give all gateways the same file of 32 random bytes"),
        ([*SEVERAL, "--redis-url=http://redis", SHARED[1]], "the Redis URL starts with none of redis://"),
        ([*SEVERAL, "--redis-credentials=/etc/limpet/redis"], "--redis-credentials without --redis-url"),
        ([*SEVERAL, *SHARED, "--redis-deadline-ms=0"], "it must be above 0"),
    ],
)
def test_flags_that_do_not(flags: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        read_flags(flags_parser(), [*ALWAYS, *flags])
    assert words in capsys.readouterr().err


def test_machines_read_json_and_people_read_text() -> None:
    assert read_flags(flags_parser(), [*ALWAYS, *ONE]).log_format == "text"
    assert read_flags(flags_parser(), [*ALWAYS, *SEVERAL]).log_format == "json"
    assert read_flags(flags_parser(), [*ALWAYS, *SEVERAL, "--log-format=text"]).log_format == "text"


@pytest.mark.parametrize(
    ("text", "means"),
    [
        ("0.0.0.0:9100", ("0.0.0.0", 9100)),
        ("[::1]:9100", ("::1", 9100)),
        ("localhost:0", ("localhost", 0)),
        (":9100", None),
        ("localhost", None),
        ("localhost:http", None),
        ("localhost:65536", None),
    ],
)
def test_hosts_and_ports(text: str, means: tuple[str, int] | None) -> None:
    assert host_port(text) == means


def test_a_memory_key_is_taken_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_bytes(b"\x00 sixteen bytes\n")
    assert memory_key(str(file)) == b"\x00 sixteen bytes\n"


def test_a_memory_key_that_is_short_or_missing_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "key"
    with pytest.raises(BadStart, match="cannot be read: No such file or directory"):
        memory_key(str(file))
    file.write_bytes(b"fifteen letters")
    with pytest.raises(BadStart, match="holds 15 bytes, and at least 16 are needed: fill it with 32 random ones"):
        memory_key(str(file))
