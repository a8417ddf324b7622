"""All that h2spec knows to ask of a server of HTTP/2, also what the standard only recommends."""

import asyncio
import os
import subprocess
from pathlib import Path
from typing import Final
from xml.etree import ElementTree as ET

import pytest
import uvloop
from tests.extproc.envoy.h2spec.build import H2SPEC
from tests.extproc.envoy.h2spec.forwarder import forwarding

from limpet_extproc.envoy.calls import CallMessages, Streaming
from limpet_extproc.envoy.grpc_server import Server
from limpet_lab.kubernetes.assets import AssetsMissingError

SECTIONS: Final = ("generic", "http2", "hpack")
CASES: Final = 146

_OWN_DEPENDENCY: Final = "RFC 9113 has no priorities any more (section 5.3.2); a stream may say what it likes of them"
DO_NOT_APPLY: Final = {
    ("http2/4.2", "Sends a large size HEADERS frame that exceeds the SETTINGS_MAX_FRAME_SIZE"): (
        "it sends 20 KB whatever the server allows, and we allow more; test_h2_connection.py sends more than that"
    ),
    ("http2/5.3.1", "Sends HEADERS frame that depend on itself"): _OWN_DEPENDENCY,
    ("http2/5.3.1", "Sends PRIORITY frame that depend on itself"): _OWN_DEPENDENCY,
}
"""By section and name, with the reason."""


async def _hundred_bytes(call: CallMessages) -> bytes:
    """The answer to any request, once it has ended."""
    while await call.read() is not None:
        pass
    return bytes(95)


async def _outcomes(folder: Path) -> dict[tuple[str, str], bool]:
    """By section and name, whether it passed. The worker's own loop, server and socket, and a handler that answers."""
    report = folder / "report.xml"
    server = Server(lambda _: Streaming(_hundred_bytes))
    await server.start(folder / "socket")
    async with forwarding(folder / "socket") as port:
        command = (H2SPEC.find(os.environ), "--strict", "--port", str(port), "--junit-report", report, *SECTIONS)
        h2spec = await asyncio.create_subprocess_exec(*command, stdout=subprocess.DEVNULL)
        await h2spec.wait()
    await server.stop(0)
    cases = ET.parse(report).iter("testcase")
    return {(case.attrib["package"], case.attrib["classname"]): len(case) == 0 for case in cases}


@pytest.mark.slow
def test_every_case_of_h2spec_that_applies_passes_and_no_other(tmp_path: Path) -> None:
    outcomes = uvloop.run(_outcomes(tmp_path))
    assert len(outcomes) == CASES
    failed = {case for case, passed in outcomes.items() if not passed}
    assert failed == DO_NOT_APPLY.keys()


def test_a_program_that_is_not_built_is_named_with_the_command_that_builds_it(tmp_path: Path) -> None:
    with pytest.raises(
        AssetsMissingError, match=r"not built yet; run: python -m tests\.extproc\.envoy\.h2spec\.build$"
    ):
        H2SPEC.find({"XDG_CACHE_HOME": str(tmp_path)})
