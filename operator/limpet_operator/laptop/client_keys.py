"""Keys of clients on a laptop: a file of them beside the directory, and a command that makes one."""

import json
import secrets
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Annotated, Any, Final

import typer

from limpet_extproc.contract.client_keys import KEY_PREFIX, ClientKeysMode, digest_of
from limpet_operator.planning.plan import Plan
from limpet_operator.resources.client_keys import LABEL, EntryError, client_key
from limpet_operator.sources.files import Document, Scan

_RANDOM_BYTES: Final = 32

client_keys = typer.Typer(no_args_is_help=True)


@client_keys.callback()
def _group() -> None:
    """Keys by which clients of a gateway are let in and told apart."""


def new_key(random: bytes) -> str:
    """A key from so many random bytes."""
    return KEY_PREFIX + random.hex()


@client_keys.command()
def new(
    name: Annotated[str, typer.Argument(help="Of the client: what reports, limits and memory know it by.")],
) -> None:
    """Make a key for a client: it is printed once and kept nowhere. The entry to keep holds its digest alone."""
    key = new_key(secrets.token_bytes(_RANDOM_BYTES))
    try:
        client_key(name, key.encode())
    except EntryError as error:
        raise typer.BadParameter(str(error), param_hint="NAME") from error
    for line in told(name, key):
        print(line)


def told(name: str, key: str) -> Iterator[str]:
    """What to do with a new key, line by line."""
    yield f"key for the client: {key}"
    yield f"entry to keep:      {name}: sha256:{digest_of(key).hex()}"


def documents(read: Iterable[Document]) -> Iterator[Document]:
    """The documents of a file of keys; a mapping of names to keys counts as a Secret with these entries."""
    for document in read:
        raw = document.raw
        if document.problem is not None or not isinstance(raw, dict) or "kind" in raw:
            yield document
        else:
            yield replace(document, raw=_secret(raw, document.origin.document))


_OF_OBJECTS: Final = frozenset({"apiVersion", "metadata", "spec"})


def as_keys(found: Scan) -> Scan:
    """The same file with its documents that are no objects read as `documents` reads a file of keys."""
    return Scan(
        {name: replace(state, documents=tuple(map(_as_keys, state.documents))) for name, state in found.files.items()}
    )


def _as_keys(document: Document) -> Document:
    if isinstance(document.raw, dict) and not _OF_OBJECTS.isdisjoint(document.raw):
        return document
    return next(documents([document]))


def _secret(entries: dict[Any, Any], number: int) -> dict[str, Any]:
    labels = {LABEL: "true"}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": f"client-keys-{number}", "labels": labels},
        "stringData": {str(name): _text(of) for name, of in entries.items()},
    }


def _text(entry: Any) -> str:
    """An entry as that of a Secret is written: one that is no text, too, so that it costs itself alone."""
    match entry:
        case str():
            return entry
        case None:
            return ""
        case dict():
            return json.dumps(entry)
        case list():
            return json.dumps({"key": entry})
        case _:
            return json.dumps({"key": 0})


def greeting_lines(now: Plan, mode: ClientKeysMode) -> Iterator[str]:
    """What the user of a new gateway has to know of its clients' keys."""
    known = len(now.client_keys)
    clients = f"{known} client{' has a key' if known == 1 else 's have keys'}"
    if mode == "Off":
        if known:
            yield f"NOTE: {clients}, and none is asked for: --client-keys-mode Required serves these alone."
    elif not known:
        rest = "so nobody is served" if mode == "Required" else "and others are served without"
        yield f"No client has a key yet, {rest}: 'limpet client-key new NAME' makes one."
    else:
        yield f"{clients}; {'no others are' if mode == 'Required' else 'others are, too,'} served."


def caution(host: str, mode: ClientKeysMode) -> str:
    """Of a gateway that other machines reach; empty: each of its clients needs a key."""
    if mode == "Required":
        return ""
    how = "does not authenticate clients" if mode == "Off" else "serves clients without a key, too"
    return (
        f"CAUTION: {host} is reachable from other machines, and Limpet {how}: any of them spends your providers' keys. "
        "Listen on 127.0.0.1, give clients keys (--client-keys FILE), or put an authenticating proxy in front of it."
    )
