"""What Limpet would do over the Providers of a directory: a worker's own routing, with nothing remembered yet."""

import time
from pathlib import Path
from typing import Final

from prometheus_client import CollectorRegistry

from limpet_extproc.contract.catalog import Catalog
from limpet_extproc.contract.explanation import Explanation
from limpet_extproc.decision.snapshot import snapshot
from limpet_extproc.dialects.port import ParsedRequest, Refusal
from limpet_extproc.dialects.registry import spoken
from limpet_extproc.process.settings import WorkerSettings
from limpet_extproc.process.wiring import WorkerContext, sticky_routing
from limpet_extproc.request.parsing import RequestHead, read
from limpet_extproc.request.reading import RequestReader
from limpet_extproc.telemetry.metrics import WorkerMetrics
from limpet_lab.explain.asked import AskedRequest

_SECRET: Final = b"of an explanation"


async def explain_planned(request: AskedRequest, catalog: Catalog) -> Explanation:
    """Nothing is sent, and nothing is known of any conversation: each is a new one, and all providers are well."""
    reader, now_s = RequestReader(), time.time()
    tables = snapshot(catalog, now_s=now_s)
    parts = sticky_routing(
        WorkerContext(
            settings=WorkerSettings(control_plane="", node="explain", socket=Path("explain.sock")),
            secret=_SECRET,
            read=_read,
            untranslatable=reader.untranslatable,
            references=reader.references,
            snapshot=lambda: tables,
            known=lambda provider: provider in tables.providers,
            metrics=WorkerMetrics(CollectorRegistry()),
            provider_changed=lambda _change: None,
            concern=lambda _event: None,
            clock=lambda: now_s,
        )
    )
    headers = {":path": request.path, ":method": "POST", **request.headers}
    found = spoken(request.path, headers.get("content-type", ""), anthropic="anthropic-version" in headers)
    head = RequestHead(found.dialect, headers, found.api, found.asked)
    assert parts.debugging is not None
    try:
        return await parts.debugging.alone(head, request.body)
    finally:
        await reader.close()


async def _read(head: RequestHead, body: bytes | memoryview) -> ParsedRequest | Refusal:
    """In this process, however long it is."""
    return read(head, bytes(body))
