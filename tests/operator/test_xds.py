"""The delta ADS server against a small fake Envoy over gRPC, against rules, and against the real Envoy."""

import asyncio
import importlib.util
import json
import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.config.route.v3 import route_pb2
from envoy.extensions.filters.http.router.v3 import router_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2 as hcm_pb2
from envoy.extensions.transport_sockets.tls.v3 import secret_pb2, tls_pb2
from envoy.service.discovery.v3 import discovery_pb2
from google.protobuf import duration_pb2
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from tests.operator.fake_envoy import FakeEnvoy

from limpet_operator.delta import CLUSTER, LISTENER, ROUTE, SECRET, Resource, ResourceSet, Stream
from limpet_operator.metrics import build_metrics
from limpet_operator.xds import Nack, XdsServer, serve


def resource(name: str, body: str = "1", type_url: str = CLUSTER) -> Resource:
    return Resource(name, type_url, body.encode())


class Recorded:
    """An XdsServer with what it called back."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.nacks: list[Nack] = []
        self.acked_nodes: list[str] = []
        self.server = XdsServer(build_metrics(self.registry, "test"), self.nacks.append, self.acked_nodes.append)

    def set_all(self, resources: Iterable[Resource]) -> None:
        """Serve exactly these."""
        wanted = list(resources)
        served = {entry.resource.key for each in self.server.resources.by_type.values() for entry in each.values()}
        self.server.publish(wanted, served - {each.key for each in wanted})

    @property
    def refused(self) -> tuple[Nack, ...]:
        return tuple(nack for node in self.server.connected_nodes for nack in self.server.refused(node).values())

    def acked(self, type_url: str = CLUSTER, node: str = "n") -> dict[str, str]:
        return dict((self.server.acknowledged(node) or {}).get(type_url, {}))

    def count(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(name, labels)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 (the real Envoy sets no event)
            await asyncio.sleep(0.005)


@asynccontextmanager
async def serving(address: str, recorded: Recorded) -> AsyncIterator[None]:
    grpc_server = await serve(address, recorded.server.handler())
    try:
        yield
    finally:
        recorded.server.close()
        await grpc_server.stop(1)


@pytest.fixture
async def side(tmp_path: Path) -> AsyncIterator[tuple[Recorded, FakeEnvoy]]:
    recorded = Recorded()
    address = f"unix:{tmp_path}/xds.sock"
    async with serving(address, recorded):
        yield recorded, FakeEnvoy(address)


# --- pure -------------------------------------------------------------------------------------------------------------


def test_a_change_of_the_set_touches_only_what_differs() -> None:
    first, touched = ResourceSet().updated([resource("a"), resource("b")], [])
    assert touched == {(CLUSTER, "a"), (CLUSTER, "b")}
    second, touched = first.updated([resource("a"), resource("b", "2")], [(CLUSTER, "a"), (CLUSTER, "ghost")])
    assert touched == {(CLUSTER, "b")}, "a is kept: changed and removed in one publish"
    assert second.version((CLUSTER, "a")) == first.version((CLUSTER, "a"))
    assert first.version((CLUSTER, "b")) != second.version((CLUSTER, "b"))
    assert second.updated([], [(CLUSTER, "a")])[0].by_type[CLUSTER].keys() == {"b"}


def request(**fields: Any) -> Any:
    return discovery_pb2.DeltaDiscoveryRequest(**({"node": {"id": "n"}, "type_url": CLUSTER} | fields))


def test_a_large_first_response_is_split_and_a_small_change_is_small() -> None:
    many, _ = ResourceSet().updated([Resource(f"c{i}", CLUSTER, bytes([i]) * 1_000_000) for i in range(7)], [])
    stream = Stream()
    stream.on_request(request(), many)
    sizes = []
    while response := stream.next_response(many):
        sizes.append(len(response.resources))
    assert sizes == [3, 3, 1]
    changed, touched = many.updated([resource("c3", "new")], [])
    stream.mark(touched)
    response = stream.next_response(changed)
    assert response is not None
    assert [r.name for r in response.resources] == ["c3"]
    assert stream.next_response(changed) is None


def test_make_before_break_order_across_types() -> None:
    first, _ = ResourceSet().updated([resource("old", type_url=t) for t in (ROUTE, SECRET, LISTENER, CLUSTER)], [])
    stream = Stream()
    for type_url in (ROUTE, LISTENER, SECRET, CLUSTER):
        stream.on_request(request(type_url=type_url, resource_names_subscribe=["*"]), first)
    sent = []
    while response := stream.next_response(first):
        sent.append(response.type_url)
    assert sent == [CLUSTER, SECRET, LISTENER, ROUTE]
    second, touched = first.updated(
        [resource("new", type_url=t) for t in (ROUTE, LISTENER, CLUSTER)],
        [(t, "old") for t in (SECRET, CLUSTER, ROUTE, LISTENER)],
    )
    stream.mark(touched)
    sent = []
    while response := stream.next_response(second):
        sent.append((response.type_url, "-" if response.removed_resources else "+"))
    assert sent == [(CLUSTER, "+"), (LISTENER, "+"), (ROUTE, "+"),
                    (LISTENER, "-"), (ROUTE, "-"), (CLUSTER, "-"), (SECRET, "-")]  # fmt: skip


def test_a_stream_that_takes_nothing_remembers_names_not_history() -> None:
    resources, _ = ResourceSet().updated([resource("a")], [])
    stream = Stream()
    stream.on_request(request(), resources)
    for i in range(1000):
        resources, touched = resources.updated([resource("a", str(i))], [])
        stream.mark(touched)
    response = stream.next_response(resources)
    assert response is not None
    assert [r.resource.value for r in response.resources] == [b"999"]
    assert stream.next_response(resources) is None


def test_withheld_acks_hold_up_nothing_and_late_ones_count() -> None:
    resources = ResourceSet()
    stream = Stream()
    stream.on_request(request(), resources)
    nonces = []
    for i in range(1000):
        resources, touched = resources.updated([resource(f"c{i % 10}", str(i))], [])
        stream.mark(touched)
        response = stream.next_response(resources)
        assert response is not None
        nonces.append(response.nonce)
    accepted: dict[str, str] = {}
    for nonce in nonces:
        accepted.update(stream.on_request(request(response_nonce=nonce), resources).accepted)
    assert accepted == {f"c{i}": resources.version((CLUSTER, f"c{i}")) for i in range(10)}


def test_what_envoy_brings_along_and_we_do_not_serve_may_stay_for_a_while() -> None:
    resources, _ = ResourceSet().updated([resource("ours")], [])
    stream = Stream(holds=True)
    stream.on_request(request(initial_resource_versions={"theirs": "1", "later ours": "1"}), resources)
    response = stream.next_response(resources)
    assert response is not None
    assert [r.name for r in response.resources] == ["ours"]
    assert stream.next_response(resources) is None
    resources, touched = resources.updated([resource("later ours")], [(CLUSTER, "ours")])
    stream.mark(touched)
    changed, removed = stream.next_response(resources), stream.next_response(resources)
    assert changed is not None
    assert removed is not None
    assert [r.name for r in changed.resources] == ["later ours"]
    assert list(removed.removed_resources) == ["ours"], "what we served ourselves goes at once"
    stream.release()
    response = stream.next_response(resources)
    assert response is not None
    assert list(response.removed_resources) == ["theirs"]
    assert stream.next_response(resources) is None


NAMES = st.sampled_from(["a", "b", "ab", "a-b"])
BODIES = st.sampled_from(["1", "2", "bad", "worse"])
STEP = st.one_of(
    st.tuples(st.just("publish"), st.dictionaries(NAMES, BODIES), st.sets(NAMES)),
    st.tuples(st.just("send")),
    st.tuples(st.just("answer"), st.booleans()),
    st.tuples(st.just("reconnect"), st.booleans()),
    st.tuples(st.just("subscribe"), NAMES),
    st.tuples(st.just("unsubscribe"), NAMES),
)


class Model:
    """An Envoy that applies what is good, rejects bodies that begin with b or w, and answers late."""

    def __init__(self, wildcard: bool) -> None:
        self.wildcard = wildcard
        self.wanted: set[str] = set()
        self.resources = ResourceSet()
        self.has: dict[str, tuple[str, bytes]] = {}
        self.reconnect(fresh=True)

    def reconnect(self, fresh: bool) -> None:
        self.has = {} if fresh else self.has
        self.stream = Stream()
        self.unanswered: list[Any] = []
        versions = {name: version for name, (version, _) in self.has.items()}
        if self.wildcard or self.wanted:
            names = () if self.wildcard else self.wanted
            self.stream.on_request(
                request(resource_names_subscribe=names, initial_resource_versions=versions), self.resources
            )

    def subscribe(self, name: str, wanted: bool) -> None:
        if self.wildcard or (name in self.wanted) == wanted:
            return
        self.wanted ^= {name}
        if not wanted:
            self.has.pop(name, None)
            self.stream.on_request(request(resource_names_unsubscribe=[name]), self.resources)
        else:
            self.stream.on_request(request(resource_names_subscribe=[name]), self.resources)

    def publish(self, changed: dict[str, str], removed: set[str]) -> None:
        self.resources, touched = self.resources.updated(
            [resource(name, body) for name, body in changed.items()], [(CLUSTER, name) for name in removed]
        )
        self.stream.mark(touched)

    def send(self) -> bool:
        response = self.stream.next_response(self.resources)
        if response is not None:
            self.unanswered.append(response)
        return response is not None

    def answer(self, partial: bool) -> bool:
        if not self.unanswered:
            return False
        response = self.unanswered.pop(0)
        bad = [r.name for r in response.resources if r.resource.value[:1] in b"bw"]
        if not bad or partial:
            for r in response.resources:
                if r.name not in bad and (self.wildcard or r.name in self.wanted):
                    self.has[r.name] = (r.version, r.resource.value)
            for name in response.removed_resources:
                self.has.pop(name, None)
        fields: dict[str, Any] = {"response_nonce": response.nonce}
        if bad:
            listing = ", ".join(f"{name}: no" for name in bad)
            fields["error_detail"] = {"message": f"Error adding/updating cluster(s) {listing}" if partial else "no"}
        self.stream.on_request(request(**fields), self.resources)
        return True


@given(wildcard=st.booleans(), steps=st.lists(STEP, max_size=40))
@settings(max_examples=300, deadline=None)
def test_whatever_happens_envoy_ends_with_what_is_published(wildcard: bool, steps: list[tuple[Any, ...]]) -> None:
    model = Model(wildcard)
    actions: dict[str, Callable[..., object]] = {
        "publish": model.publish,
        "send": model.send,
        "answer": model.answer,
        "reconnect": model.reconnect,
        "subscribe": lambda name: model.subscribe(name, wanted=True),
        "unsubscribe": lambda name: model.subscribe(name, wanted=False),
    }
    for name, *arguments in steps:
        actions[name](*arguments)
    rounds = 0
    while model.send() or model.answer(partial=True):
        rounds += 1
        assert rounds < 200, "the same version is sent in a loop"
    published = {name: entry.resource.body for name, entry in model.resources.by_type.get(CLUSTER, {}).items()}
    expected = {n: body for n, body in published.items() if body[:1] not in b"bw" and (wildcard or n in model.wanted)}
    assert {n: body for n, (_, body) in model.has.items() if published.get(n, b"")[:1] not in (b"b", b"w")} == expected
    assert model.has.keys() <= published.keys()


# --- over gRPC --------------------------------------------------------------------------------------------------------

Side = tuple[Recorded, FakeEnvoy]


async def test_wildcard_and_named_types_and_their_changes(side: Side) -> None:
    recorded, envoy = side
    recorded.set_all([resource("c1"), resource("c2"), resource("s1", type_url=SECRET), resource("s2", type_url=SECRET)])
    async with envoy.stream():
        await envoy.subscribe(CLUSTER)
        assert await envoy.take() == (CLUSTER, {"c1": b"1", "c2": b"1"}, [])
        await envoy.subscribe(SECRET, "s1", "later")
        assert await envoy.take() == (SECRET, {"s1": b"1"}, [])  # No word about "later", and nothing of s2.
        recorded.server.publish([resource("later", type_url=SECRET), resource("c1", "2"), resource("c2")])
        assert await envoy.take() == (CLUSTER, {"c1": b"2"}, [])
        assert await envoy.take() == (SECRET, {"later": b"1"}, [])
        await envoy.subscribe(SECRET, unsubscribe=["s1"])
        await envoy.subscribe(SECRET, "later")  # Asked for again: sent again.
        assert await envoy.take() == (SECRET, {"later": b"1"}, [])
        recorded.server.publish([resource("s1", "2", SECRET)], [(CLUSTER, "c2")])
        assert await envoy.take() == (CLUSTER, {}, ["c2"])
        await until(lambda: recorded.count("limpet_xds_acks_total", type="Cluster") == 3)
    assert recorded.acked().keys() == {"c1"}
    assert recorded.count("limpet_xds_resources", type="Cluster") == 1
    await until(lambda: recorded.count("limpet_xds_streams") == 0)


async def test_an_empty_world_is_answered_but_not_before_it_is_known(side: Side) -> None:
    recorded, envoy = side
    async with envoy.stream():
        await envoy.subscribe(CLUSTER)
        await until(lambda: recorded.server.acknowledged("n") is not None)
        recorded.set_all([])
        assert await envoy.take() == (CLUSTER, {}, [])  # Envoy goes on to its listeners only after this.


async def test_a_reconnect_sends_differences_and_keeps_what_was_acknowledged(side: Side) -> None:
    recorded, envoy = side
    recorded.set_all([resource(name) for name in ("same", "changes", "goes")])
    async with envoy.stream():
        await envoy.subscribe(CLUSTER)
        await envoy.take()
        await until(lambda: len(recorded.acked()) == 3)
    await until(lambda: recorded.count("limpet_xds_streams") == 0)
    recorded.set_all([resource("same"), resource("changes", "2")])
    assert recorded.acked().keys() == {"same", "changes", "goes"}, "Envoy goes on serving without us"
    async with envoy.stream():
        await envoy.subscribe(CLUSTER)
        assert await envoy.take() == (CLUSTER, {"changes": b"2"}, [])
        assert await envoy.take() == (CLUSTER, {}, ["goes"])
        assert recorded.acked().keys() == {"same", "changes"}
    envoy.has.clear()  # A new Envoy process under the same name.
    async with envoy.stream():
        await envoy.subscribe(CLUSTER)
        response = await envoy.receive()
        assert len(response.resources) == 2
        assert recorded.acked() == {}
        await envoy.answer(response)
        await until(lambda: recorded.acked().keys() == {"same", "changes"})
    assert set(recorded.acked_nodes) == {"n"}


PARTIAL = "Error adding/updating cluster(s) bad: no such file"


@pytest.mark.parametrize("message", [PARTIAL, "Proto constraint validation failed"])
async def test_a_rejection_names_the_resource_and_the_rest_counts(side: Side, message: str) -> None:
    recorded, envoy = side
    recorded.set_all([resource("bad")])
    async with envoy.stream():
        await envoy.subscribe(CLUSTER)
        await envoy.take()
        good = recorded.server.resources.version((CLUSTER, "bad"))
        recorded.server.publish([resource("bad", "broken"), *(resource(f"c{i}") for i in range(5))])
        answering = asyncio.create_task(envoy.answer_all(b"broken", message))
        await until(lambda: recorded.nacks)
        (nack,) = recorded.refused
        assert nack == Nack("n", CLUSTER, "bad", recorded.server.resources.version((CLUSTER, "bad")) or "", message)
        assert recorded.nacks == [nack]
        await until(lambda: len(recorded.acked()) == 6)
        assert recorded.acked()["bad"] == good, "the last good version goes on serving"
        recorded.server.publish([resource("bad", "mended")])
        await until(lambda: not recorded.refused)
        assert (recorded.count("limpet_xds_nacks_total", type="Cluster") or 0) <= 4, "halves of six, no loop"
        answering.cancel()


async def test_closing_ends_the_streams_in_good_order(side: Side) -> None:
    recorded, envoy = side
    async with envoy.stream():
        await envoy.subscribe(CLUSTER)
        await until(lambda: recorded.server.acknowledged("n") is not None)
        recorded.server.close()
        assert await envoy.call.code() is grpc.StatusCode.OK


async def test_a_stream_that_ends_in_nonsense_is_forgotten_all_the_same(side: Side) -> None:
    recorded, envoy = side
    method = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
    async with grpc.aio.insecure_channel(envoy.address) as channel:
        call: Any = channel.stream_stream(method)()  # type: ignore[call-arg]
        await call.write(request(node={"id": "n"}, type_url=CLUSTER).SerializeToString())
        await until(lambda: recorded.server.connected("n"))
        await call.write(b"\xff\xff")
        assert await call.code() is not grpc.StatusCode.OK
        await until(lambda: not recorded.server.connected("n"))
        assert recorded.count("limpet_xds_streams") == 0


async def test_an_address_that_is_taken_is_named(side: Side, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="is it in use"):
        await serve(f"unix:{tmp_path}/nowhere/xds.sock")


# --- the real Envoy ---------------------------------------------------------------------------------------------------

SPEC = importlib.util.find_spec("envoy")
BINARY = Path((SPEC.submodule_search_locations or [""])[0] if SPEC else "") / "_bin" / "envoy"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def fetch(port: int, path: str) -> str:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return str(answer.read().decode())
    except urllib.error.HTTPError as error:
        with error:
            return f"{error.code} {error.read().decode()}"
    except OSError:
        return ""


@contextmanager
def envoy_process(tmp_path: Path, xds_socket: Path, admin_port: int) -> Iterator[None]:
    backoff = {"retry_policy": {"retry_back_off": {"base_interval": "0.05s", "max_interval": "0.2s"}}}
    ads = {
        "api_type": "DELTA_GRPC",
        "transport_api_version": "V3",
        "set_node_on_first_message_only": True,
        "grpc_services": [{"envoy_grpc": {"cluster_name": "xds"} | backoff}],
    }
    by_ads = {"ads": {}, "resource_api_version": "V3", "initial_fetch_timeout": "0s"}
    http2 = {
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": {"http2_protocol_options": {}},
        }
    }
    endpoint = {"endpoint": {"address": {"pipe": {"path": str(xds_socket)}}}}
    bootstrap = {
        "node": {"id": "node-1", "cluster": "test"},
        "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": admin_port}}},
        "dynamic_resources": {"ads_config": ads, "cds_config": by_ads, "lds_config": by_ads},
        "static_resources": {
            "clusters": [
                {
                    "name": "xds",
                    "typed_extension_protocol_options": http2,
                    "load_assignment": {"cluster_name": "xds", "endpoints": [{"lb_endpoints": [endpoint]}]},
                }
            ]
        },
    }
    config = tmp_path / "bootstrap.json"
    config.write_text(json.dumps(bootstrap))
    with (tmp_path / "envoy.log").open("wb") as log:
        process = subprocess.Popen(
            [BINARY, "-c", config, "--concurrency", "1", "--disable-hot-restart", "-l", "info"],
            stdout=log,
            stderr=log,
        )
        try:
            yield
        finally:
            process.kill()
            process.wait()


def cluster(name: str, secret: str | None = None, ca_file: str | None = None, timeout_s: int = 1) -> Resource:
    message = cluster_pb2.Cluster(name=name, connect_timeout=duration_pb2.Duration(seconds=timeout_s))
    message.load_assignment.cluster_name = name
    address = message.load_assignment.endpoints.add().lb_endpoints.add().endpoint.address.socket_address
    address.address, address.port_value = "127.0.0.1", 9
    if secret or ca_file:
        tls = tls_pb2.UpstreamTlsContext()
        validation = tls.common_tls_context
        if secret:
            validation.validation_context_sds_secret_config.name = secret
            source = validation.validation_context_sds_secret_config.sds_config
            source.ads.SetInParent()
            source.resource_api_version = 2
            source.initial_fetch_timeout.seconds = 0
        if ca_file:
            validation.validation_context.trusted_ca.filename = ca_file
        message.transport_socket.name = "envoy.transport_sockets.tls"
        message.transport_socket.typed_config.Pack(tls)
    return Resource(name, CLUSTER, message.SerializeToString())


def secret(name: str, **sources: Any) -> Resource:
    message = secret_pb2.Secret(name=name, validation_context={"trusted_ca": sources})
    return Resource(name, SECRET, message.SerializeToString())


def listener(name: str, port: int) -> Resource:
    manager = hcm_pb2.HttpConnectionManager(stat_prefix=name)
    manager.rds.route_config_name = "main"
    manager.rds.config_source.ads.SetInParent()
    manager.rds.config_source.resource_api_version = 2
    manager.http_filters.add(name="envoy.filters.http.router").typed_config.Pack(router_pb2.Router())
    message = listener_pb2.Listener(name=name)
    message.address.socket_address.address = "127.0.0.1"
    message.address.socket_address.port_value = port
    message.filter_chains.add().filters.add(name="envoy.filters.network.http_connection_manager").typed_config.Pack(
        manager
    )
    return Resource(name, LISTENER, message.SerializeToString())


def routes(body: str) -> Resource:
    message = route_pb2.RouteConfiguration(name="main")
    route = message.virtual_hosts.add(name="all", domains=["*"]).routes.add()
    route.match.prefix = "/"
    route.direct_response.status = 200
    route.direct_response.body.inline_string = body
    return Resource("main", ROUTE, message.SerializeToString())


@pytest.mark.envoy
async def test_the_real_envoy_takes_rejects_reconnects_and_forgets(tmp_path: Path) -> None:
    admin, port = free_port(), free_port()
    xds_socket = tmp_path / "xds.sock"

    async def get(where: int, path: str) -> str:
        return await asyncio.to_thread(fetch, where, path)

    async def until_answer(where: int, path: str, text: str, there: bool = True) -> None:
        async with asyncio.timeout(20):
            while (text in await get(where, path)) != there:  # noqa: ASYNC110 (another process)
                await asyncio.sleep(0.02)

    roots = str(Path(grpc.__file__).parent / "_cython" / "_credentials" / "roots.pem")
    recorded = Recorded()
    recorded.set_all([cluster("plain"), cluster("tls", "ca"), listener("in", port), routes("one")])
    with envoy_process(tmp_path, xds_socket, admin):
        async with serving(f"unix:{xds_socket}", recorded):
            await until(lambda: SECRET in (recorded.server.acknowledged("node-1") or {}))
            recorded.server.publish([secret("ca", filename=roots)])  # Told nothing, Envoy waited for it.
            await until_answer(port, "/", "one")
            await until(lambda: recorded.acked(CLUSTER, "node-1").keys() == {"plain", "tls"})
            assert recorded.acked(SECRET, "node-1").keys() == {"ca"}

            # One bad file: Envoy applies the others of that response. A broken rule: it applies none.
            before = recorded.acked(CLUSTER, "node-1")["plain"]
            recorded.server.publish([cluster("file", ca_file="/nowhere.pem"), cluster("more")])
            await until(lambda: "more" in recorded.acked(CLUSTER, "node-1"))
            await until(lambda: {nack.name for nack in recorded.refused} == {"file"})
            assert "/nowhere.pem" in recorded.nacks[0].message
            recorded.server.publish([cluster("plain", timeout_s=-1), cluster("more", timeout_s=2), cluster("yet")])
            await until(lambda: "yet" in recorded.acked(CLUSTER, "node-1"))
            await until(lambda: {nack.name for nack in recorded.refused} == {"file", "plain"})
            assert "Expected positive duration" in recorded.nacks[1].message
            assert recorded.acked(CLUSTER, "node-1")["plain"] == before
            assert len(recorded.nacks) == 2
            await until_answer(admin, "/clusters", "yet::")

        # The operator starts again: nothing that Envoy has is sent again.
        await until_answer(port, "/", "one")
        again = Recorded()
        async with serving(f"unix:{xds_socket}", again):
            await until(lambda: ROUTE in (again.server.acknowledged("node-1") or {}))
            good = [cluster("plain"), cluster("tls", "ca"), cluster("more", timeout_s=2), secret("ca", filename=roots)]
            again.set_all([*good, listener("in", port), routes("one")])
            await until_answer(admin, "/clusters", "yet::", there=False)
            await until(lambda: again.acked(CLUSTER, "node-1").keys() == {"plain", "tls", "more"})
            again.server.publish([routes("two")])
            await until_answer(port, "/", "two")
            await until(lambda: again.count("limpet_xds_acks_total", type="RouteConfiguration") == 1)
            assert again.count("limpet_xds_acks_total", type="Cluster") == 1, "only the removal"
            assert again.count("limpet_xds_acks_total", type="Listener") is None
            assert again.count("limpet_xds_nacks_total", type="Cluster") is None

            again.server.publish([], [(CLUSTER, "tls"), (SECRET, "ca")])
            await until_answer(admin, "/clusters", "tls::", there=False)
            await until_answer(port, "/", "two")
