"""A real kube-apiserver over a real etcd: RBAC, admission, validation, CEL, server-side apply, watches.

There are no controllers and no kubelet: a Deployment stays a record, nothing collects garbage, a deleted namespace
stays Terminating. All methods block; from async code call them by `asyncio.to_thread`.
"""

import json
import secrets
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, Final, Self

import httpx
import trustme
import yaml
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from limpet_lab.kubernetes.assets import Assets
from limpet_lab.kubernetes.program import Program
from limpet_operator.laptop.machine import free_port
from limpet_operator.resources.schema import load_crds

LOOPBACK: Final = "127.0.0.1"
_NAMES: Final = (LOOPBACK, "10.0.0.1", "localhost", "kubernetes.default.svc")
_READY_S: Final = 90.0


class UnexpectedResultError(AssertionError):
    """A program did not do what was expected; the message has its output."""


@dataclass(frozen=True, slots=True)
class KubectlResult:
    """Exit status and output of a kubectl."""

    status: int
    out: str
    err: str

    def ok(self) -> str:
        """Its output. Raises UnexpectedResultError, with the error, if it failed."""
        if self.status != 0:
            raise UnexpectedResultError(f"kubectl failed with status {self.status}:\n{self.err or self.out}")
        return self.out

    def refused(self) -> str:
        """Its error. Raises UnexpectedResultError if it succeeded."""
        if self.status == 0:
            raise UnexpectedResultError(f"kubectl succeeded:\n{self.out}")
        return self.err.strip()


@dataclass(slots=True)
class ApiServer:
    """One etcd and one API server, at the same ports over all restarts."""

    directory: Path
    port: int
    url: str
    """Its address for pods; other programs on this machine may use it too."""
    etcd_url: str
    etcd: Program
    apiserver: Program
    _client: httpx.Client
    _numbers: Iterator[int] = field(default_factory=lambda: count(1))

    @classmethod
    @contextmanager
    def running(
        cls, assets: Assets, directory: Path, *, advertise: str = LOOPBACK, bound: bool = False
    ) -> Iterator[Self]:
        """Both, ready, until the end of the block; all their files are in `directory`.

        `advertise` is the address for other programs; `bound` is Program's.
        """
        server = cls._prepared(assets, directory, advertise, bound)
        try:
            server.etcd.start()
            server.start()
            yield server
        finally:
            server.close()

    @property
    def ca_file(self) -> Path:
        """The PEM certificate of its authority."""
        return self.directory / "ca.crt"

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig."""
        return self.directory / "admin.kubeconfig"

    # Its life cycle.

    def close(self) -> None:
        """Stop both gracefully."""
        self._client.close()
        self.apiserver.stop()
        self.etcd.stop()

    def start(self) -> None:
        """Start the API server and wait until it is ready."""
        self.apiserver.start()
        self.wait_ready()

    def stop(self) -> None:
        """Stop the API server gracefully; etcd stays."""
        self.apiserver.stop()

    def kill(self) -> None:
        """Kill the API server; etcd stays."""
        self.apiserver.kill()

    def restart(self) -> None:
        """Stop the API server gracefully and start it again; it is ready on return."""
        self.stop()
        self.start()

    def restart_etcd(self) -> None:
        """Kill etcd and start it again over the same data; the API server is ready on return."""
        self.etcd.kill()
        self.etcd.start()
        self.wait_ready()

    def expire_watch_history(self) -> None:
        """Forget all older versions, in etcd and in the API server: a watch that resumes from one gets 410 Gone."""
        self.stop()
        with httpx.Client(base_url=self.etcd_url) as etcd:
            now = etcd.post("/v3/kv/range", json={"key": "AA=="}).raise_for_status().json()["header"]["revision"]
            etcd.post("/v3/kv/compaction", json={"revision": now, "physical": True}).raise_for_status()
        self.start()

    def wait_ready(self) -> None:
        """Return when /readyz is ok. Raises UnexpectedResultError, with the end of the log, if that never happens."""
        deadline = time.monotonic() + _READY_S
        last = "no answer"
        while time.monotonic() < deadline:
            for program in (self.etcd, self.apiserver):
                if not program.alive():
                    raise UnexpectedResultError(f"{program.name} has ended:\n{program.log_tail()}")
            try:
                answer = self._client.get("/readyz")
            except httpx.TransportError as error:
                last = repr(error)
            else:
                if answer.status_code == 200:
                    return
                last = answer.text
            time.sleep(0.05)
        raise UnexpectedResultError(f"the API server is not ready: {last}\n{self.apiserver.log_tail()}")

    # Its use.

    def wait_established(self) -> None:
        """Wait until all CRDs are served. Raises UnexpectedResultError."""
        deadline_s = time.monotonic() + _READY_S
        while True:
            done = self.kubectl("wait", "--for=condition=Established", "--timeout=60s", "crd", "--all")
            # kubectl does not wait for a CRD that is so new that it has no conditions at all.
            if "accessor error" not in done.err or time.monotonic() > deadline_s:
                break
            time.sleep(0.2)
        done.ok()

    def kubectl(self, *arguments: str, input: str | None = None, kubeconfig: Path | None = None) -> KubectlResult:  # noqa: A002
        """Run kubectl, as the administrator unless a kubeconfig says otherwise."""
        done = subprocess.run(  # noqa: S603 - the caller's own arguments
            [str(Path(sys.executable).with_name("kubectl")), *arguments],
            input=input,
            capture_output=True,
            text=True,
            check=False,
            env={
                "KUBECONFIG": str(kubeconfig or self.kubeconfig),
                "KUBECACHEDIR": str(self.directory / "kubectl"),
                "HOME": str(self.directory),
            },
        )
        return KubectlResult(done.returncode, done.stdout, done.stderr)

    def apply(self, *objects: Mapping[str, Any], namespace: str = "default") -> KubectlResult:
        """`kubectl apply` of these objects together."""
        text = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects} if len(objects) > 1 else objects[0])
        return self.kubectl("apply", "--namespace", namespace, "--filename", "-", input=text)

    def get(self, *arguments: str) -> Any:
        """`kubectl get … -o json`, parsed."""
        return json.loads(self.kubectl("get", *arguments, "--output", "json").ok())

    def request(self, method: str, path: str, *, content: Any = None, content_type: str = "application/json") -> Any:
        """A plain request as the administrator, for what kubectl can't do; an httpx.Response."""
        return self._client.request(method, path, json=content, headers={"content-type": content_type})

    def install_crds(self) -> None:
        """Apply them as documented, and wait until the API serves them."""
        text = json.dumps({"apiVersion": "v1", "kind": "List", "items": load_crds()})
        self.kubectl("apply", "--server-side", "--filename", "-", input=text).ok()
        self.wait_established()

    def namespace(self, prefix: str = "test") -> str:
        """Create a namespace; returns its name."""
        name = f"{prefix}-{next(self._numbers)}"
        self.kubectl("create", "namespace", name).ok()
        return name

    def token(self, namespace: str, account: str, *, seconds: int = 3600) -> str:
        """A token of a ServiceAccount, by TokenRequest, as kubelets do."""
        flags = ("--namespace", namespace, f"--duration={seconds}s")
        return self.kubectl("create", "token", account, *flags).ok().strip()

    def kubeconfig_of(self, namespace: str, account: str) -> Path:
        """A kubeconfig of a ServiceAccount, with a new token."""
        path = self.directory / f"{namespace}-{account}.kubeconfig"
        path.write_text(_kubeconfig(self.url, self.ca_file, self.token(namespace, account), namespace))
        return path

    @classmethod
    def _prepared(cls, assets: Assets, directory: Path, advertise: str, bound: bool) -> Self:
        port, client_port, peer_port = free_port(), free_port(), free_port()
        token = secrets.token_hex(16)
        authority, key = trustme.CA(), rsa.generate_private_key(public_exponent=65537, key_size=2048)
        certificate = authority.issue_cert(*dict.fromkeys((*_NAMES, advertise)))
        certificate.private_key_pem.write_to_path(directory / "tls.key")
        for blob in certificate.cert_chain_pems:
            blob.write_to_path(directory / "tls.crt", append=True)
        authority.cert_pem.write_to_path(directory / "ca.crt")
        (directory / "sa.key").write_bytes(
            key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
        )
        (directory / "tokens.csv").write_text(f'{token},admin,1,"system:masters"\n')
        url = f"https://{advertise}:{port}"
        (directory / "admin.kubeconfig").write_text(_kubeconfig(url, directory / "ca.crt", token, "default"))
        etcd_url = f"http://{LOOPBACK}:{client_port}"
        etcd = _etcd(assets, directory, etcd_url, peer_port)
        apiserver = _apiserver(assets, directory, etcd_url, (advertise, port))
        return cls(
            directory,
            port,
            url,
            etcd_url,
            Program("etcd", etcd, directory / "etcd.log", bound=bound),
            Program("kube-apiserver", apiserver, directory / "kube-apiserver.log", bound=bound),
            httpx.Client(
                base_url=url,
                headers={"authorization": f"Bearer {token}"},
                verify=ssl.create_default_context(cafile=str(directory / "ca.crt")),
                timeout=30,
            ),
        )


def _etcd(assets: Assets, directory: Path, url: str, peer_port: int) -> Sequence[str]:
    return (
        str(assets.etcd),
        f"--data-dir={directory / 'etcd'}",
        f"--listen-client-urls={url}",
        f"--advertise-client-urls={url}",
        f"--listen-peer-urls=http://{LOOPBACK}:{peer_port}",
        "--unsafe-no-fsync=true",  # writes survive the process, and no machine is lost here
        "--log-level=warn",
    )


def _apiserver(assets: Assets, directory: Path, etcd_url: str, address: tuple[str, int]) -> Sequence[str]:
    advertise, port = address
    return (
        str(assets.apiserver),
        f"--etcd-servers={etcd_url}",
        f"--bind-address={LOOPBACK if advertise == LOOPBACK else '0.0.0.0'}",
        # Not loopback, which it rejects; the Service `kubernetes` is not used here.
        f"--advertise-address={'10.0.0.1' if advertise == LOOPBACK else advertise}",
        f"--secure-port={port}",
        f"--tls-cert-file={directory / 'tls.crt'}",
        f"--tls-private-key-file={directory / 'tls.key'}",
        f"--cert-dir={directory}",
        f"--token-auth-file={directory / 'tokens.csv'}",
        "--authorization-mode=RBAC",
        "--service-cluster-ip-range=10.0.0.0/24",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={directory / 'sa.key'}",
        f"--service-account-signing-key-file={directory / 'sa.key'}",
        "--disable-admission-plugins=ServiceAccount",  # it waits for a controller that creates default accounts
    )


def _kubeconfig(url: str, ca_file: Path, token: str, namespace: str) -> str:
    cluster = {"server": url, "certificate-authority": str(ca_file)}
    return yaml.safe_dump({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "test",
        "clusters": [{"name": "test", "cluster": cluster}],
        "users": [{"name": "test", "user": {"token": token}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test", "namespace": namespace}}],
    })  # fmt: skip
