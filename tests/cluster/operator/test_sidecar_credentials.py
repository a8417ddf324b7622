"""Sidecars get providers' credentials by a real service account's token, which a real API server is asked about."""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import grpc
import grpc.aio
from envoy.extensions.transport_sockets.tls.v3 import secret_pb2
from envoy.service.discovery.v3 import discovery_pb2
from tests.cluster.operator.objects import provider, secret
from tests.cluster.operator.process import Operator

from limpet_lab.kubernetes.apiserver import ApiServer
from limpet_lab.mesh.identities import CertificateAuthority
from limpet_operator.laptop.machine import free_port
from limpet_operator.publish.resource import SECRET

_NAME: Final = "limpet-operator.test.svc"
_METHOD: Final = "/envoy.service.secret.v3.SecretDiscoveryService/DeltaSecrets"


def token(server: ApiServer, namespace: str, audience: str) -> str:
    """Of the service account `checkout` there."""
    flags = ("--namespace", namespace, f"--audience={audience}")
    return server.kubectl("create", "token", "checkout", *flags).ok().strip()


@asynccontextmanager
async def stream(address: str, authority: str, sent: str) -> AsyncIterator[Any]:
    """A sidecar's stream, as gRPC's own client opens it."""
    credentials = grpc.ssl_channel_credentials(authority.encode())
    options = (("grpc.ssl_target_name_override", _NAME),)
    async with grpc.aio.secure_channel(address, credentials, options=options) as channel:
        method: Any = channel.stream_stream(
            _METHOD,
            discovery_pb2.DeltaDiscoveryRequest.SerializeToString,
            discovery_pb2.DeltaDiscoveryResponse.FromString,
        )
        call = method(metadata=[("authorization", f"Bearer {sent}")], timeout=60)
        yield call
        call.cancel()


async def ask(call: Any, names: Iterable[str] = (), nonce: str = "") -> None:
    """Subscribe, or acknowledge."""
    await call.write(
        discovery_pb2.DeltaDiscoveryRequest(type_url=SECRET, resource_names_subscribe=names, response_nonce=nonce)
    )


async def next_key(call: Any) -> str:
    """The next credential."""
    answer = await call.read()
    await ask(call, nonce=answer.nonce)
    (resource,) = answer.resources
    found = secret_pb2.Secret.FromString(resource.resource.value)
    key: str = found.generic_secret.secret.inline_string
    return key


async def refusal(address: str, authority: str, sent: str) -> grpc.StatusCode:
    """Why a stream with this token ends."""
    async with stream(address, authority, sent) as call:
        try:
            await call.read()
        except grpc.aio.AioRpcError as error:
            return error.code()
    return grpc.StatusCode.OK


async def test_a_token_of_a_listed_namespace_counts_and_no_other(apiserver: ApiServer, tmp_path: Path) -> None:
    ours, shop, other = (apiserver.namespace() for _ in range(3))
    for namespace in (shop, other):
        apiserver.kubectl("create", "serviceaccount", "checkout", "--namespace", namespace).ok()
    authority = CertificateAuthority.made("limpet")
    pair, tls = authority.of_host(_NAME), tmp_path / "tls"
    tls.mkdir()
    for name, text in (("tls.crt", pair.certificate), ("tls.key", pair.key), ("ca.crt", authority.pem)):
        (tls / name).write_text(text)
    apiserver.apply(secret("a", key="key-1"), provider("a"), namespace=ours).ok()
    address = f"127.0.0.1:{free_port()}"
    flags = (
        *("--namespace", ours, "--tls-dir", str(tls), "--gateway-name", "gateway.test.svc"),
        *("--sidecar-namespace", shop, "--credentials", address),
    )
    with Operator.running(apiserver, tmp_path / "operator", *flags) as operator:
        await operator.ready()
        wanted = f"limpet/credential/{ours}/a@api.deepseek.com"
        good = token(apiserver, shop, "istio-ca")
        async with stream(address, authority.pem, good) as call:
            await ask(call, [wanted])
            assert await next_key(call) == "Bearer key-1"
            apiserver.apply(secret("a", key="key-2"), namespace=ours).ok()
            assert await next_key(call) == "Bearer key-2"
        denied = {
            "another namespace's": token(apiserver, other, "istio-ca"),
            "for another audience": token(apiserver, shop, "someone-else"),
            "made up": good[:-8] + "AAAAAAAA",
            "none": "",
        }
        for whose, sent in denied.items():
            code = await refusal(address, authority.pem, sent)
            assert code is grpc.StatusCode.PERMISSION_DENIED, whose
        said = operator.program.log.read_text()
        assert f"the service account checkout of the namespace {other}" in said
        assert not [sent for sent in (good, *denied.values()) if sent and sent in said]
