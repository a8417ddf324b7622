"""What is served in words, and the path that is nearest to one that is not."""

import re

import pytest
from lupa.luajit21 import LuaRuntime

from limpet_extproc.contract.apis import OBJECTS
from limpet_operator.publish.lua import program
from limpet_operator.publish.paths import KNOWN, Served, below
from limpet_operator.resources.vendors import load_vendors

_NEAREST = LuaRuntime().execute(program("nearest.lua", then="return nearest"))
_SERVED = Served.of(["embeddings", "images", "files", "audio", "embeddings"])


@pytest.mark.parametrize(
    ("path", "meant"),
    [
        ("/embedings", "POST /embeddings"),
        ("/Embeddings", "POST /embeddings"),
        ("/chat/completion", "POST /chat/completions"),
        ("/api/v1/chat/completions", "POST /chat/completions"),
        ("/message", "POST /messages"),
        ("/messages/count-tokens", "POST /messages/count_tokens"),
        ("/model", "GET /models"),
        ("/responses/x/inputs", "GET /responses/{id}/input_items"),
        ("/responses/resp_0123456789/input_item", "GET /responses/{id}/input_items"),
        ("/responses/resp_0123456789/cancle", "POST /responses/{id}/cancel"),
        ("/files/file-1/part", "GET /files/{id}"),
        ("/images/generation", "POST /images/generations"),
        ("/audio/transcription", "POST /audio/transcriptions"),
        ("/x" * 500 + "/embeddings", "POST /embeddings"),
        ("/zzzzzzzzzzzzzzzz", None),
        ("", None),
    ],
)
def test_the_nearest_path_is_the_one_that_was_meant(path: str, meant: str | None) -> None:
    assert _NEAREST(path, "\n".join(_SERVED.lines)) == meant


@pytest.mark.parametrize(("method", "meant"), [("GET", "GET /responses/{id}"), ("POST", "POST /responses/{id}/cancel")])
def test_of_two_that_are_as_near_the_one_with_the_same_method_is_meant(method: str, meant: str) -> None:
    assert _NEAREST("/responses/x/nope", "\n".join(_SERVED.lines), method) == meant


def test_each_path_is_named_once() -> None:
    assert len(set(_SERVED.lines)) == len(_SERVED.lines)
    assert _SERVED.words.startswith("POST /v1/chat/completions, /v1/responses, /v1/messages, ")
    assert _SERVED.objects == ("files",)


def test_every_api_of_a_vendor_is_known_by_name() -> None:
    listed = {name for vendor in load_vendors().values() for name in vendor.endpoints}
    assert listed <= KNOWN | OBJECTS


@pytest.mark.parametrize("names", [sorted(KNOWN), sorted(OBJECTS)], ids=["stateless", "objects"])
def test_however_many_apis_there_are_each_is_matched_once(names: list[str]) -> None:
    patterns = below(names)
    assert len(patterns) < len(names)
    for name in names:
        path = "/messages/batches" if name == "message_batches" else f"/{name}"
        for written in (f"/v1{path}", f"{path}/x/y", f"/openai/v1{path}/", f"/openai/deployments/gpt/{name}"):
            if name == "message_batches" and "deployments" in written:
                continue
            # Python has no `\C`, any byte.
            found = [each for each in patterns if re.fullmatch(each.replace("\\C", "."), written)]
            assert len(found) == 1, written
        assert not any(re.fullmatch(each.replace("\\C", "."), f"/v1{path}x") for each in patterns)
