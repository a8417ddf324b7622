"""`limpet-activity`."""

import asyncio
import logging
import os
import sys

from limpet_activity.export.port import ExportSettingsError
from limpet_activity.intake.certificates import TlsFilesError
from limpet_activity.intake.server import ListenError
from limpet_activity.process.flags import parse
from limpet_activity.process.logs import log_to_stderr
from limpet_activity.process.service import run
from limpet_activity.store.port import StoreError

_log = logging.getLogger(__name__)


def main() -> None:
    """Run it; exits with 2 where it cannot start."""
    settings = parse()
    log_to_stderr(settings.log_level, settings.log_format)
    try:
        asyncio.run(run(settings, os.environ))
    except (ListenError, TlsFilesError, ExportSettingsError, StoreError, OSError) as error:
        _log.error("%s", error)
        sys.exit(2)
