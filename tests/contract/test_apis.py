"""What a path asks for, however people write it."""

import pytest

from limpet_extproc.contract.apis import Api, Asked, api_of, asked

CHAT = Asked("/chat/completions")


WRITTEN: dict[str, Asked] = {
    "/v1/chat/completions": CHAT,
    "/v1/chat/completions?stream=1": CHAT,
    "/v1/chat/completions/": CHAT,
    "//v1//chat/completions": CHAT,
    "/chat/completions": CHAT,
    "/v1/v1/chat/completions": CHAT,
    "/openai/v1/chat/completions": CHAT,
    "/openai/chat/completions": CHAT,
    "/openai/responses?api-version=preview": Asked("/responses"),
    "/v1/messages?beta=true": Asked("/messages"),
    "/anthropic/v1/messages": Asked("/messages"),
    "/messages/count_tokens/": Asked("/messages/count_tokens"),
    "/openai/deployments/gpt-5/chat/completions?api-version=2025-01-01": Asked("/chat/completions", "gpt-5"),
    "/openai/deployments/openai/gpt-6.1/chat/completions": Asked("/chat/completions", "openai/gpt-6.1"),
    "/openai/deployments/openai%2Fgpt-6.1/chat/completions": Asked("/chat/completions", "openai/gpt-6.1"),
    "/openai/deployments/a/b/c/v1/v1/embeddings/": Asked("/embeddings", "a/b/c"),
    "/openai/deployments/chat/completions": Asked("/completions", "chat"),
    "/openai/deployments/v1/completions": Asked("/completions", "v1"),
    "/openai/deployments/a/chat/completions/chat/completions": Asked("/chat/completions", "a/chat/completions"),
    "/openai/deployments/a/b/rerank": Asked("/b/rerank", "a"),
    "/openai/deployments/a%20b/embeddings": Asked("/embeddings", "a b"),
    "/openai/deployments/x/v1/files/file-1": Asked("/files/file-1", "x"),
    "/openai/deployments/x/v1": Asked("", "x"),
    "/openai/deployments/x": Asked("/deployments/x"),
    "/openai/v1/v1/images/generations": Asked("/images/generations"),
    "/v1/responses/resp_1/input_items": Asked("/responses/resp_1/input_items"),
    "/v1": Asked(""),
    "/": Asked(""),
    "/v1beta/models": Asked("/v1beta/models"),
    "/openaiish/v1/models": Asked("/openaiish/v1/models"),
    "/llm/v1/messages": Asked("/llm/v1/messages"),
}
"""Paths as people write them; the gateway's Lua is held to them as well."""


@pytest.mark.parametrize(("path", "found"), WRITTEN.items())
def test_what_is_left_of_a_path_is_what_follows_v1(path: str, found: Asked) -> None:
    assert asked(path) == found


@pytest.mark.parametrize(
    ("path", "api"),
    [
        ("/chat/completions", Api("OpenAIChat", "conversation")),
        ("/responses", Api("OpenAIResponses", "conversation")),
        ("/responses/input_tokens", Api("OpenAIResponses", "counting")),
        ("/responses/resp_1", Api("OpenAIResponses", "object")),
        ("/responses/resp_1/cancel", Api("OpenAIResponses", "object")),
        ("/messages", Api("AnthropicMessages", "conversation")),
        ("/messages/count_tokens", Api("AnthropicMessages", "counting")),
        ("/messages/batches/msgbatch_1", Api("message_batches", "object")),
        ("/embeddings", Api("embeddings", "stateless")),
        ("/images/generations", Api("images", "stateless")),
        ("/files/file-1/content", Api("files", "object")),
        ("/chat/other", None),
        ("/messages/other", None),
        ("/Embeddings", None),
        ("", None),
        ("embeddings", None),
    ],
)
def test_the_api_of_a_path(path: str, api: Api | None) -> None:
    assert api_of(path) == api
