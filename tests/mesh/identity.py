"""A sidecar's identity, as Istio's agent gets and serves it: signed by istiod's own authority, by SDS on a socket."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from envoy.extensions.transport_sockets.tls.v3 import secret_pb2
from envoy.service.discovery.v3 import discovery_pb2
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from limpet_lab.kubernetes.apiserver import ApiServer

AUDIENCE: Final = "istio-ca"
"""Of the tokens that istiod takes."""

WORKLOAD: Final = "default"
"""What istiod calls the secret with a sidecar's own certificate."""

ROOT: Final = "ROOTCA"
"""And the one with the mesh's authorities."""

_SIGN: Final = "/istio.v1.auth.IstioCertificateService/CreateCertificate"
_STREAM: Final = "StreamSecrets"
_SERVICE: Final = "envoy.service.secret.v3.SecretDiscoveryService"
_VALID_S: Final = 24 * 3600
_PATIENCE_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Identity:
    """A workload's certificate and key, and the mesh's root, as PEM."""

    chain: str
    key: str
    root: str

    @property
    def spiffe_id(self) -> str:
        """What it says the workload is."""
        names = x509.load_pem_x509_certificate(self.chain.encode()).extensions
        found = names.get_extension_for_class(x509.SubjectAlternativeName).value
        return found.get_values_for_type(x509.UniformResourceIdentifier)[0]


async def sign(istiod: str, token: str) -> Identity:
    """The identity of the service account whose token that is (audience AUDIENCE), from istiod at HOST:PORT."""
    key = ec.generate_private_key(ec.SECP256R1())
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    asked, answered = _messages()
    async with grpc.aio.insecure_channel(istiod) as channel:
        call = channel.unary_unary(_SIGN, asked.SerializeToString, answered.FromString)
        answer = await call(
            asked(csr=request.public_bytes(Encoding.PEM), validity_duration=_VALID_S),
            metadata=[("authorization", f"Bearer {token}")],
            timeout=_PATIENCE_S,
            wait_for_ready=True,
        )
    written = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    return Identity("".join(answer.cert_chain[:-1]), written, answer.cert_chain[-1])


def _messages() -> tuple[Any, Any]:
    """Istio's request and response of a signature; their definition is in no Python package."""
    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="istio/ca.proto", package="istio.v1.auth", syntax="proto3")
    request = file.message_type.add(name="IstioCertificateRequest")
    request.field.add(name="csr", number=1, type=field.TYPE_STRING, label=field.LABEL_OPTIONAL)
    request.field.add(name="validity_duration", number=3, type=field.TYPE_INT64, label=field.LABEL_OPTIONAL)
    response = file.message_type.add(name="IstioCertificateResponse")
    response.field.add(name="cert_chain", number=1, type=field.TYPE_STRING, label=field.LABEL_REPEATED)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    classes = (pool.FindMessageTypeByName(f"istio.v1.auth.{each.name}") for each in file.message_type)
    asked, answered = (message_factory.GetMessageClass(each) for each in classes)
    return asked, answered


@asynccontextmanager
async def served(identity: Identity, socket: Path) -> AsyncIterator[None]:
    """Serves it to one sidecar, whoever asks on this Unix socket, until the end of the block."""
    default = {
        "certificate_chain": {"inline_string": identity.chain},
        "private_key": {"inline_string": identity.key},
    }
    secrets = {
        WORKLOAD: secret_pb2.Secret(name=WORKLOAD, tls_certificate=default),
        ROOT: secret_pb2.Secret(name=ROOT, validation_context={"trusted_ca": {"inline_string": identity.root}}),
    }

    async def stream(
        requests: AsyncIterator[discovery_pb2.DiscoveryRequest], _: object
    ) -> AsyncIterator[discovery_pb2.DiscoveryResponse]:
        sent: tuple[str, ...] = ()
        async for request in requests:
            names = tuple(sorted(request.resource_names))
            if names == sent:
                continue  # an acknowledgement
            sent = names
            answer = discovery_pb2.DiscoveryResponse(type_url=request.type_url, version_info="1", nonce="1")
            for name in names:
                if name in secrets:
                    answer.resources.add().Pack(secrets[name])
            yield answer

    server = grpc.aio.server()
    server.add_generic_rpc_handlers((_handler(stream),))
    server.add_insecure_port(f"unix:{socket}")
    await server.start()
    try:
        yield
    finally:
        await server.stop(None)


def _handler(stream: Callable[..., Any]) -> Any:
    method = grpc.stream_stream_rpc_method_handler(
        stream,
        request_deserializer=discovery_pb2.DiscoveryRequest.FromString,
        response_serializer=discovery_pb2.DiscoveryResponse.SerializeToString,
    )
    return grpc.method_handlers_generic_handler(_SERVICE, {_STREAM: method})


def token_for(server: ApiServer, namespace: str, account: str) -> str:
    """A service account's token for istiod, as kubelets put it into pods with a sidecar."""
    flags = ("--namespace", namespace, f"--audience={AUDIENCE}")
    return server.kubectl("create", "token", account, *flags).ok().strip()
