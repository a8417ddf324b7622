"""How a process of the service is to run."""

from pathlib import Path

import msgspec
from sqlalchemy import URL

from limpet_activity.export.wiring import ExportSettings
from limpet_activity.store.retention import KeepLimits
from limpet_activity.web.settings import PageSettings
from limpet_extproc.contract.host_port import HostPort


class ActivitySettings(msgspec.Struct, frozen=True):
    """Of flags that fit together."""

    store: URL | None
    """None: records are kept in memory, the newest few thousand."""
    listen: tuple[str, ...]
    """For workers: `unix:PATH` or `HOST:PORT`."""
    page: HostPort | None
    """For people."""
    page_settings: PageSettings | None
    http: HostPort | None
    """For probes and Prometheus."""
    probes: HostPort | None
    """For probes alone."""
    tls_dir: Path | None
    gateway_name: str
    """In the certificates of workers."""
    limits: KeepLimits
    exports: ExportSettings
    log_level: str
    log_format: str
