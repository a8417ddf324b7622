"""The way to the operator: certificates, the reasons that are logged, and the choice among several replicas."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import pytest
import trustme
from tests.extproc.catalog_stream import Operator, Worker
from tests.waiting import until

from limpet_extproc.contract.catalog import Catalog
from limpet_extproc.operator_link.operator_channel import explain
from limpet_operator.laptop.machine import free_port

OURS: Final = trustme.CA()
STRANGERS: Final = trustme.CA()


def tls_dir(
    directory: Path, name: str, *, by: trustme.CA = OURS, trusts: trustme.CA = OURS, expired: bool = False
) -> Path:
    """A directory as the Secret of one side is mounted."""
    directory.mkdir(parents=True, exist_ok=True)
    yesterday = datetime.now(UTC) - timedelta(days=1)
    certificate = by.issue_cert(name, not_after=yesterday if expired else None)
    certificate.private_key_pem.write_to_path(directory / "tls.key")
    (directory / "tls.crt").write_bytes(b"".join(blob.bytes() for blob in certificate.cert_chain_pems))
    trusts.cert_pem.write_to_path(directory / "ca.crt")
    return directory


def not_pem(directory: Path) -> Path:
    tls_dir(directory, "worker")
    (directory / "tls.crt").write_text("not PEM")
    return directory


WRONG: Final[list[tuple[str, Callable[[Path], Path | None], str]]] = [
    ("of strangers", lambda d: tls_dir(d, "worker", by=STRANGERS), "as it does if it refuses our certificate"),
    ("expired", lambda d: tls_dir(d, "worker", expired=True), "as it does if it refuses our certificate"),
    ("none", lambda _: None, r"does it ask for certificates \(--tls-dir\)"),
    ("not PEM", not_pem, "tls.crt, tls.key and ca.crt are not PEM files"),
    ("no files", lambda d: d, "the certificate files cannot be read: .*tls.crt"),
    ("trusting strangers", lambda d: tls_dir(d, "worker", trusts=STRANGERS), "is not from the authority in ca.crt"),
]


@pytest.mark.parametrize(("files", "words"), [case[1:] for case in WRONG], ids=[case[0] for case in WRONG])
async def test_with_the_wrong_certificate_nothing_comes_and_the_reason_is_logged(
    files: Callable[[Path], Path | None], words: str, tmp_path: Path
) -> None:
    port, ours = free_port(), files(tmp_path / "ours")
    async with (
        Operator(Catalog("1")).at(f"127.0.0.1:{port}", tls_dir(tmp_path / "operator", "localhost")) as operator,
        Worker().watching(f"dns:///localhost:{port}", ours) as worker,
    ):
        await until(lambda: worker.lost)
        assert re.search(words, worker.lost[0])
        assert not worker.catalogs
        assert not operator.reports


async def test_an_operator_of_another_name_or_without_tls_is_not_listened_to(tmp_path: Path) -> None:
    ours, port = tls_dir(tmp_path / "ours", "worker"), free_port()
    async with (
        Operator(Catalog("1")).at(f"127.0.0.1:{port}", tls_dir(tmp_path / "operator", "elsewhere")),
        Worker().watching(f"dns:///localhost:{port}", ours) as worker,
    ):
        await until(lambda: worker.lost)
        assert "for another name than the host of --control-plane" in worker.lost[0]
    async with (
        Operator(Catalog("1")).at(f"127.0.0.1:{port}"),
        Worker().watching(f"dns:///localhost:{port}", ours) as worker,
    ):
        await until(lambda: worker.lost)
        assert "it does not speak TLS, and --tls-dir asks for it" in worker.lost[0]
        assert not worker.catalogs


async def test_renewed_certificates_count_from_the_next_attempt_on(tmp_path: Path) -> None:
    port, ours = free_port(), tls_dir(tmp_path / "ours", "worker", by=STRANGERS, trusts=STRANGERS)
    operators = tls_dir(tmp_path / "operator", "localhost")
    async with Worker().watching(f"dns:///localhost:{port}", ours) as worker:
        async with Operator(Catalog("1")).at(f"127.0.0.1:{port}", operators):
            await until(lambda: worker.lost)
            tls_dir(ours, "worker")
            await until(lambda: worker.catalogs)
        # The authority itself is replaced: both sides get new files, one after the other.
        tls_dir(operators, "localhost", by=STRANGERS, trusts=STRANGERS)
        async with Operator(Catalog("2")).at(f"127.0.0.1:{port}", operators):
            await until(lambda: any("not from the authority" in why for why in worker.lost))
            tls_dir(ours, "worker", by=STRANGERS, trusts=STRANGERS)
            await until(lambda: worker.catalogs[1:])
        assert [catalog.revision for catalog in worker.catalogs] == ["1", "2"]


async def test_when_a_replica_ends_another_one_is_used(tmp_path: Path) -> None:
    first, second = free_port(), free_port()
    async with (
        Worker().watching(f"ipv4:127.0.0.1:{first},127.0.0.1:{second}") as worker,
        Operator(Catalog("2")).at(f"127.0.0.1:{second}") as staying,
    ):
        await until(lambda: worker.connected == [True])
        async with Operator(Catalog("1")).at(f"127.0.0.1:{first}") as leaving:
            assert not leaving.reports, "a stream that works stays where it is"
        assert len(staying.reports) == 2
    async with (
        Operator(Catalog("2")).at(f"127.0.0.1:{second}"),
        Worker().watching(f"ipv4:127.0.0.1:{first},127.0.0.1:{second}") as worker,
    ):
        async with Operator(Catalog("1")).at(f"127.0.0.1:{first}"):
            await until(lambda: worker.catalogs)
        await until(lambda: worker.catalogs[-1] == Catalog("2"))


@pytest.mark.parametrize(
    ("details", "words"),
    [
        (
            (
                "errors resolving op.ns.svc:18000: [field:hostname lookup error:address lookup failed for "
                "op.ns.svc:18000: Domain name not found]"
            ),
            "its name cannot be resolved: is the host of --control-plane right, and is an operator ready? (errors",
        ),
        (
            (
                "failed to connect to all addresses; last error: UNKNOWN: ipv4:127.0.0.1:1: Failed to connect to "
                "remote host: Connection refused"
            ),
            "nothing listens there (failed",
        ),
        ("words of a later gRPC", "words of a later gRPC"),
    ],
)
def test_grpcs_messages_are_explained_and_quoted(details: str, words: str) -> None:
    assert explain(details, tls=True).startswith(words)
    assert details in explain(details, tls=False)
