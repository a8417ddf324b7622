"""Who we are at the API server, for the whole life of a pod."""

import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import pytest_asyncio
import trustme
from aiohttp import web

from limpet_operator.sources.kube_error import ApiError
from limpet_operator.sources.kube_reader import Access, KubeReader, NoClusterError, bearer_token
from limpet_operator.status.kube_writer import KubeWriter


class Server:
    """Lets in who has the token of the day."""

    def __init__(self) -> None:
        self.token = "monday"
        self.port = 0

    async def handle(self, request: web.Request) -> web.Response:
        if request.headers.get("Authorization", "").lower() == f"bearer {self.token}":
            return web.json_response({"kind": "Thing"})
        return web.json_response({"message": "Unauthorized"}, status=401)


@pytest_asyncio.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.crt"))
    server, app = Server(), web.Application()
    app.router.add_route("*", "/{path:.*}", server.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    server.port = runner.addresses[0][1]
    yield server
    await runner.cleanup()


def pod(server: Server, account: Path) -> Access:
    where = {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": str(server.port)}
    return Access(account=account, environment=where)


async def test_a_new_token_is_used_by_the_next_request_of_readers_and_writers(server: Server, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("monday")
    access = pod(server, tmp_path)
    reader, writer = await KubeReader.connect(access), KubeWriter(await access.configuration())
    async with reader, AsyncExitStack() as open_:
        open_.push_async_callback(writer.close)
        assert await reader.get("/a") == await writer.call("GET", "/a") == {"kind": "Thing"}
        server.token = "tuesday"
        with pytest.raises(ApiError, match="401: Unauthorized"):
            await reader.get("/a")
        with pytest.raises(ApiError, match="401 Unauthorized"):
            await writer.call("GET", "/a")
        token.write_text("tuesday")
        assert await reader.get("/a") == await writer.call("GET", "/a") == {"kind": "Thing"}
        assert bearer_token(await access.configuration()) == "tuesday", "which kopf asks for after a 401"


async def test_while_the_file_is_away_the_last_token_is_shown(server: Server, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("monday")
    async with await KubeReader.connect(pod(server, tmp_path)) as reader:
        token.unlink()
        assert await reader.get("/a") == {"kind": "Thing"}
        token.write_text("")
        assert await reader.get("/a") == {"kind": "Thing"}
    with pytest.raises(NoClusterError, match="run inside a pod with a service account"):
        await Access(tmp_path / "kubeconfig").configuration()


@pytest.mark.parametrize("content", [b"", b"- a list", b"a: [", b"\xff"])
async def test_a_file_that_is_no_kubeconfig_is_named(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "kubeconfig"
    file.write_bytes(content)
    with pytest.raises(NoClusterError, match=f"{file} is not a kubeconfig: .*; run inside a pod"):
        await Access(file).configuration()
