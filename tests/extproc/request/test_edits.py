"""What each provider of an order gets of a request: one list of splices, and another where it differs."""

import json
from typing import Any

import msgspec
import pytest
from tests.extproc.conftest import CHEAP, Make
from tests.extproc.splicing import spliced

from limpet_extproc.contract.apis import Api, Asked
from limpet_extproc.contract.catalog import CacheFields, CatalogProvider, Model
from limpet_extproc.contract.prices import Price
from limpet_extproc.dialects.form import Form
from limpet_extproc.dialects.port import CacheDirectives, LastBlock
from limpet_extproc.dialects.spans import Member, Span
from limpet_extproc.request.cache_keys import cache_key
from limpet_extproc.request.edits import Edits, edits
from limpet_extproc.request.opened import Opened
from limpet_extproc.request.splices import Splice

CLAUDE = Price(input=1.0, output=5.0, cache_read=0.1, cache_write=1.25)
BLOCKS = CacheFields(cache_control={"OpenAIChat": "Blocks"})


def keyed(name: str, rpm: int = 0) -> CatalogProvider:
    return CatalogProvider(
        name, (Model("flash", "flash", 0, CHEAP, cache_key=True),), cache_fields=CacheFields(cache_key_rpm=rpm)
    )


def opened(make: Make, body: bytes, *providers: CatalogProvider, kind: str = "conversation", **fields: Any) -> Opened:
    """The request opened, with these fields read of it."""
    found = make.opened(make.snapshot(*providers), body)
    assert isinstance(found, Opened)
    head = msgspec.structs.replace(found.head, api=Api("OpenAIChat", kind))  # type: ignore[arg-type]
    return msgspec.structs.replace(found, head=head, request=msgspec.structs.replace(found.request, **fields))


def order(found: Opened) -> tuple[str, ...]:
    return tuple(found.query.lane.by_provider)


def sent(found: Opened, before: int = 0) -> dict[str, Any]:
    """What each provider gets, decoded."""
    made = edits(found, order(found), before)
    candidates = found.query.lane.by_provider
    return {
        name: json.loads(
            spliced(
                bytes(found.body),
                made.of(name) if made else (),
                None if candidate.upstream_model == "flash" else candidate.upstream_model,
            )
        )
        for name, candidate in candidates.items()
    }


def test_providers_that_get_the_same_share_one_list(make: Make) -> None:
    names = opened(make, make.body(), make.provider("a"), make.provider("b", upstream="B"))
    assert edits(names, order(names)) == Edits((Splice(9, 7, True),))
    ours = opened(make, make.body(session_id="s"), make.provider("a"), make.provider("b", upstream="B"))
    made = edits(ours, order(ours))
    assert made is not None
    assert not made.own
    assert len(made.common) == 2


def test_one_that_gets_other_changes_has_a_list_of_its_own(make: Make) -> None:
    found = opened(make, make.body(), make.provider("a"), keyed("b"))
    made = edits(found, order(found))
    assert made is not None
    assert (made.common, [name for name, _ in made.own]) == ((), ["b"])


def test_what_every_provider_takes_as_it_is_is_not_edited(make: Make) -> None:
    ask = CacheDirectives(has_key=True)
    found = opened(make, make.body(), make.provider("a", cache_fields=BLOCKS), keyed("b"), cache=ask)
    assert edits(found, order(found)) is None


def missing_model(make: Make) -> bytes:
    return make.body().replace(b'"model":"flash",', b"")


def named_in_the_path(make: Make, *providers: CatalogProvider) -> Opened:
    found = opened(make, make.body(), *providers, model_span=Span(0, 0), model_form="missing")
    return msgspec.structs.replace(found, body=missing_model(make))


def test_a_model_that_only_the_path_names_is_added(make: Make) -> None:
    got = sent(named_in_the_path(make, make.provider("a"), make.provider("b", upstream='B "x"')))
    assert got["a"] == json.loads(make.body())
    assert got["b"] == json.loads(make.body(model='B "x"'))


class TestCacheKey:
    def test_it_is_added_where_it_helps(self, make: Make) -> None:
        found = opened(make, make.body(), make.provider("a"), keyed("b"))
        key = cache_key(found.query.key, "b", 0, 0)
        assert sent(found) == {"a": json.loads(make.body()), "b": json.loads(make.body(prompt_cache_key=key))}

    def test_above_the_rate_of_a_key_there_are_several(self, make: Make) -> None:
        found = opened(make, make.body(), keyed("a", rpm=15), keyed("b"))
        keys = {
            name: {sent(found, before)[name]["prompt_cache_key"] for before in (0, 14, 15, 29, 30)} for name in "ab"
        }
        assert (len(keys["a"]), len(keys["b"])) == (3, 1)

    @pytest.mark.parametrize(
        "fields", [{"cache": CacheDirectives(has_key=True)}, {"kind": "counting"}, {"kind": "stateless"}], ids=str
    )
    def test_it_is_added_to_turns_that_have_none(self, make: Make, fields: dict[str, Any]) -> None:
        found = opened(make, make.body(), keyed("a"), **fields)
        assert edits(found, order(found)) is None

    def test_it_is_no_field_of_anthropics(self, make: Make) -> None:
        provider = msgspec.structs.replace(keyed("a"), dialects=("AnthropicMessages",), translated=("OpenAIChat",))
        found = opened(make, make.body(), provider)
        assert edits(found, order(found)) is None


class TestStreamUsage:
    def test_it_is_asked_for_where_that_is_not_refused(self, make: Make) -> None:
        found = opened(make, make.body(), make.provider("a", stream_usage=False), make.provider("b"), usage_asked=False)
        assert sent(found) == {
            "a": json.loads(make.body()),
            "b": json.loads(make.body(stream_options={"include_usage": True})),
        }

    @pytest.mark.parametrize("adds", [(True, True), (False, True), (False, False)])
    def test_the_client_is_not_shown_what_it_did_not_ask_for(self, make: Make, adds: tuple[bool, ...]) -> None:
        providers = (make.provider(name, stream_usage=each) for name, each in zip("ab", adds, strict=True))
        found = opened(make, make.body(), *providers, usage_asked=False)
        made = edits(found, order(found))
        assert made is not None
        assert made.hides_usage

    @pytest.mark.parametrize("written", ['"stream_options"', '"stream\\u005foptions"'])
    @pytest.mark.parametrize(
        ("options", "hides"),
        [({"include_usage": True}, False), ({"include_usage": False}, True), ({}, True), (None, True), ("x", False)],
        ids=str,
    )
    def test_options_are_cut_where_they_would_be_refused(
        self, make: Make, written: str, options: object, hides: bool
    ) -> None:
        body = make.body(stream=True, stream_options=options, n=1).replace(b'"stream_options"', written.encode())
        found = opened(make, body, make.provider("a", stream_usage=False), make.provider("b"))
        assert sent(found) == {
            "a": json.loads(make.body(stream=True, n=1)),
            "b": json.loads(make.body(stream=True, stream_options={"include_usage": True} if hides else options, n=1)),
        }
        made = edits(found, order(found))
        assert made is not None
        assert made.hides_usage is hides

    def test_a_form_has_none(self, make: Make) -> None:
        provider = make.provider("a", stream_usage=False)
        found = opened(make, make.body(stream_options={}), provider, model_form="plain")
        assert edits(found, order(found)) is None


class TestCacheControl:
    def test_each_gets_it_where_it_reads_it(self, make: Make) -> None:
        mark = {"type": "ephemeral"}
        body = make.body(cache_control=mark)
        top_level = Member(
            "cache_control", body.index(b'"cache_control"'), body.index(b'{"type"'), len(body) - 1, 0, -1
        )
        top_level = top_level._replace(before=top_level.start - 1)
        text = body.index(b'"Hello"')
        found = opened(
            make,
            body,
            make.provider("a"),
            make.provider("b", cache_fields=BLOCKS),
            make.provider("c", cache_fields=CacheFields(cache_control={"OpenAIChat": "TopLevel"})),
            cache=CacheDirectives(top_level=top_level),
            last_blocks=(LastBlock(Span(text, 7), is_text=True),),
        )
        marked = [{"role": "user", "content": [{"type": "text", "text": "Hello", "cache_control": mark}]}]
        assert sent(found) == {
            "a": json.loads(make.body()),
            "b": json.loads(make.body(messages=marked)),
            "c": json.loads(body),
        }

    @pytest.mark.parametrize(("kind", "added"), [("conversation", True), ("counting", False)])
    def test_auto_marks_the_turns_of_conversations(self, make: Make, kind: str, added: bool) -> None:
        provider = make.provider("a", cache_fields=BLOCKS, prompt_caching="Auto", price=CLAUDE)
        found = opened(
            make,
            make.body(),
            provider,
            kind=kind,
            last_blocks=(LastBlock(Span(make.body().index(b'"Hello"'), 7), is_text=True),),
        )
        found = msgspec.structs.replace(found, query=msgspec.structs.replace(found.query, has_history=True))
        assert (b"cache_control" in json.dumps(sent(found)).encode()) is added

    def test_a_translated_request_is_marked_as_what_it_becomes(self, make: Make) -> None:
        body = make.body()
        provider = make.provider(
            "a",
            dialects=("AnthropicMessages",),
            translated=("OpenAIChat",),
            cache_fields=CacheFields(cache_control={"AnthropicMessages": "TopLevel"}),
            prompt_caching="Auto",
            price=CLAUDE,
        )
        found = opened(make, body, provider)
        found = msgspec.structs.replace(found, query=msgspec.structs.replace(found.query, has_history=True))
        assert sent(found) == {"a": json.loads(body) | {"cache_control": {"type": "ephemeral"}}}


def test_fields_about_lifetimes_go_where_they_are_read(make: Make) -> None:
    body = b'{"prompt_cache_retention":"24h","model":"flash","messages":[{"role":"user","content":"x"}]}'
    retention = Member("prompt_cache_retention", 1, 26, 31, -1, 32)
    providers = (make.provider("a"), make.provider("b", cache_fields=CacheFields(retention=True)))
    found = opened(make, body, *providers, cache=CacheDirectives(retention=(retention,)))
    without = {"model": "flash", "messages": [{"role": "user", "content": "x"}]}
    assert sent(found) == {"a": without, "b": without | {"prompt_cache_retention": "24h"}}


def test_all_changes_of_one_request_compose(make: Make) -> None:
    body = b'{"session_id":1,"prompt_cache_retention":"24h","model":"flash","stream_options":null,"messages":[]}'
    found = opened(
        make,
        make.body(),
        make.provider("a", upstream="A"),
        msgspec.structs.replace(keyed("b"), reads_provider_object=True),
        ours=(Member("session_id", 1, 14, 15, -1, 16),),
        cache=CacheDirectives(retention=(Member("prompt_cache_retention", 16, 41, 46, 15, 47),)),
        model_span=Span(55, 7),
        stream_options=Span(80, 4),
        usage_asked=False,
    )
    found = msgspec.structs.replace(found, body=body)
    options = {"include_usage": True}
    assert sent(found) == {
        "a": {"model": "A", "stream_options": options, "messages": []},
        "b": {
            "prompt_cache_key": cache_key(found.query.key, "b", 0, 0),
            "model": "flash",
            "stream_options": options,
            "messages": [],
        },
    }


def test_in_a_form_the_name_is_written_as_it_is(make: Make) -> None:
    found = opened(
        make,
        make.body(),
        make.provider("a"),
        make.provider("b", upstream="B"),
        model_span=Span(10, 5),
        model_form="plain",
    )
    made = edits(found, order(found))
    assert made == Edits((Splice(10, 5, "flash"),), (("b", (Splice(10, 5, "B"),)),))


def test_a_form_gets_its_model_from_the_path(make: Make) -> None:
    form = Form("multipart/form-data; boundary=x-y")
    body = b'--x-y\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n1\r\n--x-y--\r\n'
    found = opened(make, make.body(), make.provider("a"), make.provider("b", upstream="B"))
    request = form.parse(body, Asked("/audio/transcriptions", "flash"))
    found = msgspec.structs.replace(found, request=request, body=body)
    made = edits(found, order(found))
    assert made is not None
    for name, model in (("a", "flash"), ("b", "B")):
        got = spliced(body, made.of(name))
        read = form.parse(got)
        assert (read.model, got.endswith(body)) == (model, True)
