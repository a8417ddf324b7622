"""What an Envoy still lacks, by rules: nothing here knows gRPC."""

from collections.abc import Callable
from typing import Any

import pytest
from envoy.service.discovery.v3 import discovery_pb2
from hypothesis import given, settings
from hypothesis import strategies as st

from limpet_operator.publish.resource import CLUSTER, LISTENER, ROUTE, SECRET, Resource
from limpet_operator.serve.delta import DeltaStream, ResourceSet


def resource(name: str, body: str = "1", type_url: str = CLUSTER) -> Resource:
    return Resource(name, type_url, body.encode())


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
    stream = DeltaStream()
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
    stream = DeltaStream()
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


@pytest.mark.parametrize("lingers", [True, False])
def test_clusters_that_envoy_has_change_after_its_routes_and_new_ones_come_before(lingers: bool) -> None:
    """Of an upgrade: a new version's clusters may need what its routes have."""
    before, _ = ResourceSet().updated([resource(name, type_url=t) for t in (CLUSTER, ROUTE) for name in "ab"], [])
    after, _ = before.updated([resource(name, "2", t) for t in (CLUSTER, ROUTE) for name in "abc"], [])
    stream, sent = DeltaStream(lingers=lingers), []
    for type_url in (CLUSTER, ROUTE):
        had = {name: each.version for name, each in before.by_type[type_url].items()}
        stream.on_request(
            request(type_url=type_url, resource_names_subscribe=["*"], initial_resource_versions=had), after
        )
        while lingers and (response := stream.next_response(after)):
            sent.append((response.type_url, {each.name for each in response.resources}))
            stream.on_request(request(type_url=response.type_url, response_nonce=response.nonce), after)
    while response := stream.next_response(after):
        sent.append((response.type_url, {each.name for each in response.resources}))
        stream.on_request(request(type_url=response.type_url, response_nonce=response.nonce), after)
    assert sent == [(CLUSTER, {"c"}), (ROUTE, {"a", "b", "c"}), (CLUSTER, {"a", "b"})]


@pytest.mark.parametrize("lingers", [True, False])
def test_clusters_do_not_change_while_envoy_refuses_the_routes_that_they_may_need(lingers: bool) -> None:
    before, _ = ResourceSet().updated([resource("a", type_url=t) for t in (CLUSTER, ROUTE)], [])
    after, _ = before.updated([resource("a", "2", t) for t in (CLUSTER, ROUTE)], [])
    stream = DeltaStream(lingers=lingers)
    for type_url in (ROUTE, CLUSTER):
        had = {"a": before.version((type_url, "a"))}
        stream.on_request(
            request(type_url=type_url, resource_names_subscribe=["*"], initial_resource_versions=had), after
        )
    routes = stream.next_response(after)
    assert routes is not None
    refusal = {"message": "no such filter"}
    stream.on_request(request(type_url=ROUTE, response_nonce=routes.nonce, error_detail=refusal), after)
    stream.release()
    assert stream.next_response(after) is None
    mended, touched = after.updated([resource("a", "3", ROUTE)], [])
    stream.mark(touched)
    routes = stream.next_response(mended)
    assert routes is not None
    stream.on_request(request(type_url=ROUTE, response_nonce=routes.nonce), mended)
    clusters = stream.next_response(mended)
    assert clusters is not None
    assert clusters.type_url == CLUSTER


def test_an_envoy_that_never_asks_for_routes_gets_its_clusters_in_the_end() -> None:
    before, _ = ResourceSet().updated([resource("a")], [])
    after, _ = before.updated([resource("a", "2")], [])
    stream = DeltaStream(lingers=True)
    had = {"a": before.version((CLUSTER, "a"))}
    stream.on_request(request(resource_names_subscribe=["*"], initial_resource_versions=had), after)
    assert stream.next_response(after) is None
    stream.release()
    response = stream.next_response(after)
    assert response is not None
    assert [each.name for each in response.resources] == ["a"]


def test_a_stream_that_takes_nothing_remembers_names_not_history() -> None:
    resources, _ = ResourceSet().updated([resource("a")], [])
    stream = DeltaStream()
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
    stream = DeltaStream()
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


@pytest.mark.parametrize("meanwhile", ["changed", "removed"])
def test_what_was_refused_along_with_others_is_sent_when_it_is_published_again(meanwhile: str) -> None:
    resources, _ = ResourceSet().updated([resource("a", "2"), resource("b", "bad")], [])
    stream = DeltaStream()
    stream.on_request(request(), resources)
    refused = stream.next_response(resources)
    assert refused is not None
    other = ([resource("a", "1")], []) if meanwhile == "changed" else ([], [(CLUSTER, "a")])
    for step in (other, ([resource("a", "2")], [])):
        resources, touched = resources.updated(*step)
        stream.mark(touched)
        if step is other:
            stream.on_request(request(response_nonce=refused.nonce, error_detail={"message": "no"}), resources)
            stream.next_response(resources)
    sent = []
    while response := stream.next_response(resources):
        sent += [(each.name, each.resource.value) for each in response.resources]
    assert ("a", b"2") in sent


def test_what_envoy_brings_along_and_we_do_not_serve_may_stay_for_a_while() -> None:
    resources, _ = ResourceSet().updated([resource("ours")], [])
    stream = DeltaStream(lingers=True)
    stream.on_request(request(initial_resource_versions={"theirs": "1", "later ours": "1"}), resources)
    stream.on_request(request(type_url=ROUTE, resource_names_subscribe=["none"]), resources)
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
        self.stream = DeltaStream()
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
