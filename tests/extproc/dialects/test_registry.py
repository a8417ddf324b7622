"""Which dialect a request is in."""

import json
from pathlib import Path

import pytest

import limpet_extproc
from limpet_extproc.contract.apis import CONVERSATIONS, Api
from limpet_extproc.dialects.port import Refusal
from limpet_extproc.dialects.registry import BY_NAME, spoken


@pytest.mark.parametrize("path", CONVERSATIONS)
def test_a_path_means_the_same_with_a_query_and_under_a_prefix(path: str) -> None:
    found = spoken(f"/v1{path}")
    assert found.api == (CONVERSATIONS[path], "conversation")
    assert found == spoken(f"/v1{path}?a=b") == spoken(f"/v1/v1{path}/") == spoken(f"/llm/v1{path}?a=/v1/x")


def test_an_unknown_path_is_taken_for_chat() -> None:
    assert spoken("/ask") == spoken("") == spoken("/v1/chat/completions")


@pytest.mark.parametrize(
    ("path", "api", "asked"),
    [
        ("/v1/embeddings", Api("embeddings", "stateless"), "/embeddings"),
        ("/embeddings/", Api("embeddings", "stateless"), "/embeddings"),
        ("/v1/v1/audio/speech?x=/v1/y", Api("audio", "stateless"), "/audio/speech"),
        ("/v1/ask", Api("ask", "stateless"), "/ask"),
        ("/llm/v1/embeddings", Api("embeddings", "stateless"), "/embeddings"),
        ("/v1/files/file-1/content", Api("files", "object"), "/files/file-1/content"),
        ("/v1/responses/resp_1", Api("OpenAIResponses", "object"), "/responses/resp_1"),
        ("/openai/deployments/m/embeddings", Api("embeddings", "stateless"), "/embeddings"),
    ],
)
def test_other_apis_are_told_by_what_follows_v1(path: str, api: Api, asked: str) -> None:
    found = spoken(path)
    assert (found.api, found.asked.path) == (api, asked)
    assert json.loads(found.dialect.error_body(Refusal(404, "refused.bad_request", "no")))["error"]["message"] == "no"


def test_a_form_is_read_as_one_where_files_may_be_sent() -> None:
    form = "multipart/form-data; boundary=x"
    assert spoken("/v1/audio/transcriptions", form).dialect.name == "form"
    assert spoken("/v1/audio/transcriptions", "application/json").dialect.name == "endpoint"
    assert spoken("/v1/chat/completions", form) == spoken("/v1/chat/completions")


def test_nothing_outside_of_dialects_knows_one_by_its_module() -> None:
    root = Path(limpet_extproc.__file__).parent
    sources = {path: path.read_text() for path in root.rglob("*.py")}
    for dialect in BY_NAME.values():
        for path, source in sources.items():
            if path.parent.name not in ("dialects", "contract"):
                assert type(dialect).__module__ not in source, path
