"""`limpet report`: reads the ledger of `limpet up`, or that of an installation in its Redis, and adds it up."""

import asyncio
import os
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from limpet_extproc.contract.ledger import HOUR_S, Rows
from limpet_extproc.contract.state_folder import KEY_FILE, LEDGER_FILE, state_folder
from limpet_extproc.memory.ledger import LedgerUnavailableError
from limpet_extproc.memory.ledger_file import read_ledger_file
from limpet_extproc.memory.redis.address import AddressError
from limpet_extproc.process.memory_key import read_memory_key
from limpet_extproc.process.report.summary import By, of_tenants, since_when, spending_report
from limpet_extproc.process.report.table import report_lines
from limpet_extproc.process.start_error import StartError
from limpet_extproc.request.identity import owner


def report(
    since: Annotated[str, typer.Option(help="36h, 7d, 2w, or a date or time in UTC, such as 2026-11-30.")] = "30d",
    by: Annotated[By, typer.Option(help="What each line is about.")] = "provider",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON; the keys are in docs/ledger.md.")] = False,
    file: Annotated[
        Path | None, typer.Option(help="The ledger to read; by default that of 'limpet up'.", dir_okay=False)
    ] = None,
    redis_url: Annotated[
        str | None, typer.Option(help="Read the ledger of an installation in this Redis, as its gateways name it.")
    ] = None,
    redis_credentials: Annotated[
        Path | None, typer.Option(help="Directory with the files username, password and ca.crt, each optional.")
    ] = None,
    tenant_of: Annotated[
        Path | None,
        typer.Option(help="File with the key of one client: only its requests.", exists=True, dir_okay=False),
    ] = None,
    memory_key_file: Annotated[
        Path | None,
        typer.Option(help="The gateways' secret for tenants' names; by default that of 'limpet up'.", dir_okay=False),
    ] = None,
) -> None:
    """What requests cost, and what they would have cost without caches, without stickiness, always at the cheapest."""
    now_s = time.time()
    try:
        begin = since_when(since, datetime.fromtimestamp(now_s, UTC))
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--since") from error
    if file is not None and redis_url is not None:
        raise typer.BadParameter("a ledger is in a file or in Redis: give one of both", param_hint="--file")
    hours = int(begin.timestamp() // HOUR_S), int(now_s // HOUR_S) + 1
    try:
        if redis_url is not None:
            rows = asyncio.run(_from_redis(redis_url, redis_credentials, *hours))
        else:
            rows = _from_file(file, *hours)
        if tenant_of is not None:
            secret = read_memory_key(memory_key_file or state_folder(os.environ, Path.home()) / KEY_FILE)
            rows = of_tenants(rows, tenant_names(secret, tenant_of.read_bytes()))
    except (LedgerUnavailableError, AddressError, StartError) as error:
        typer.echo(f"limpet report: {error}", err=True)
        raise typer.Exit(1) from error
    found = spending_report(rows, by, begin)
    if as_json:
        typer.echo(msgspec.json.format(msgspec.json.encode(found.as_json())).decode())
        return
    for line in report_lines(found):
        typer.echo(line)


def tenant_names(secret: bytes, credential: bytes) -> frozenset[str]:
    """What the ledger calls a client with this key, in whichever header it sends it."""
    bare = credential.strip()
    return frozenset(owner(secret, sent).name for sent in (bare, b"Bearer " + bare))


def _from_file(file: Path | None, from_hour: int, to_hour: int) -> Rows:
    path = file or state_folder(os.environ, Path.home()) / LEDGER_FILE
    if file is None and not path.exists():
        raise LedgerUnavailableError(
            f"{path} does not exist: 'limpet up' writes it as soon as a request has been answered; "
            "for an installation in a cluster give --redis-url"
        )
    return read_ledger_file(path, from_hour, to_hour)


async def _from_redis(url: str, credentials: Path | None, from_hour: int, to_hour: int) -> Rows:
    # Imported here: most ledgers are files.
    from limpet_extproc.memory.redis.address import parse
    from limpet_extproc.memory.redis.errors import RedisError
    from limpet_extproc.memory.redis.ledger import read_redis_ledger
    from limpet_extproc.memory.redis.store import open_store

    try:
        store = await open_store(parse(url), credentials)
    except RedisError as error:
        raise LedgerUnavailableError(f"Redis: {error}") from error
    try:
        return await read_redis_ledger(store, from_hour, to_hour)
    finally:
        await store.close()
