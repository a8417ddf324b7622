"""Sends a conversation of two turns to a gateway, and fails unless the second reads from the cache.

It runs in a pod of `helm test` and needs Python's standard library alone.
"""

import json
import os
import sys
import urllib.error
import urllib.request
import uuid

GATEWAY, MODEL = sys.argv[1], sys.argv[2]
# Longer than the shortest prompt that any provider caches, and different each time.
SYSTEM = f"Test {uuid.uuid4()}. " + "Answer with one word. " * 1500


def call(path: str, body: object = None) -> tuple[dict[str, str], dict]:
    """The headers and the JSON of an answer."""
    headers = {"authorization": f"Bearer {os.environ.get('LIMPET_KEY', 'helm-test')}"}
    data = None
    if body is not None:
        data = json.dumps(body).encode()
        headers["content-type"] = "application/json"
    request = urllib.request.Request(GATEWAY + path, data, headers)  # noqa: S310 (the chart gives the URL)
    try:
        with urllib.request.urlopen(request, timeout=120) as response:  # noqa: S310
            return {name.lower(): value for name, value in response.headers.items()}, json.load(response)
    except urllib.error.HTTPError as error:
        sys.exit(f"{path}: {error.code} {error.read().decode(errors='replace')[:1000]}")
    except OSError as error:
        sys.exit(f"{GATEWAY}{path}: {error}")


models = [model["id"] for model in call("/v1/models")[1]["data"]]
print(f"The gateway answers and serves {len(models)} models: {', '.join(models[:5]) or 'none yet'}.")
if not MODEL:
    print("Set test.model to one of them, and this test sends it a conversation of two turns.")
    sys.exit(0)
if MODEL not in models:
    sys.exit(f"It does not serve test.model {MODEL!r}.")
messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": "Say yes."}]
served = []
for turn in (1, 2):
    headers, answer = call("/v1/chat/completions", {"model": MODEL, "messages": messages})
    usage = answer.get("usage") or {}
    cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens")
    served.append(headers.get("x-limpet-provider"))
    print(
        f"Turn {turn}: {headers.get('x-limpet-provider')}, {headers.get('x-limpet-decision')},"
        f" {cached} of {usage.get('prompt_tokens')} tokens from the cache"
    )
    messages += [answer["choices"][0]["message"], {"role": "user", "content": "Say no."}]
if served[0] != served[1]:
    sys.exit(f"The second turn went to {served[1]}, and the first had gone to {served[0]}.")
if not cached:
    sys.exit(f"The second turn read nothing from the cache of {served[1]}. Does it cache this model at all?")
print("The second turn came back to the same provider and read from its cache.")
