"""The objects of some kinds that a cluster has now, for commands that look once and follow nothing."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from limpet_operator.resources.objects import Foreign, Objects, Parsed, Parser
from limpet_operator.resources.problem import API_VERSION, PLURALS, Invalid, ObjectKey
from limpet_operator.sources.crd_check import APPLY
from limpet_operator.sources.kube_error import ApiError

if TYPE_CHECKING:  # a command that asks no cluster does without the packages of one
    from limpet_operator.sources.kube_reader import KubeReader

_PAUSES_S: Final = (1.0, 2.0, 4.0, 8.0)


class UnreadableClusterError(Exception):
    """What is asked for could not be read; the message says what to do."""


async def read_objects(
    api: "KubeReader",
    parser: Parser,
    kinds: Sequence[str],
    namespaces: Sequence[str],
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
) -> Objects:
    """All objects of these kinds of ours in these namespaces; without any, in all. Raises UnreadableClusterError.

    A server that answers that it can't just now is asked again, as kubectl does.
    """
    parsed: dict[ObjectKey, Parsed] = {}
    invalid: dict[ObjectKey, Invalid] = {}
    for kind in kinds:
        for namespace in namespaces or (None,):
            for raw in await _list(api, kind, namespace, sleep):
                result = parser.parse({"apiVersion": API_VERSION, "kind": kind, **raw})
                if isinstance(result, Foreign) or result.key is None:
                    continue  # of another version of the CRDs, which the API server has checked against them
                if isinstance(result, Invalid):
                    invalid[result.key] = result
                else:
                    parsed[result.key] = result
    return Objects(parsed, invalid)


async def _list(
    api: "KubeReader", kind: str, namespace: str | None, sleep: Callable[[float], Awaitable[object]]
) -> Sequence[Mapping[str, Any]]:
    inside = f"/namespaces/{namespace}" if namespace else ""
    try:
        found = await answer_of(api, f"/apis/{API_VERSION}{inside}/{PLURALS[kind]}", sleep)
    except ApiError as error:
        raise UnreadableClusterError(_advice(error, kind, namespace)) from error
    items: Sequence[Mapping[str, Any]] = found.get("items") or ()
    return items


async def answer_of(
    api: "KubeReader", path: str, sleep: Callable[[float], Awaitable[object]] = asyncio.sleep
) -> Mapping[str, Any]:
    """What a GET returns, asked again as `read_objects` does. Raises ApiError."""
    pauses_s = iter(_PAUSES_S)
    while True:
        try:
            found: Mapping[str, Any] = await api.get(path)
        except ApiError as error:
            pause_s = next(pauses_s, None) if error.status is not None and error.is_transient else None
            if pause_s is None:
                raise
            await sleep(pause_s)
        else:
            return found


def _advice(error: ApiError, kind: str, namespace: str | None) -> str:
    if error.status == HTTPStatus.NOT_FOUND:
        return f"the cluster knows no {kind}s; is it the right one? If so: {APPLY}"
    if error.status == HTTPStatus.UNAUTHORIZED:
        return f"{error}; the kubeconfig's account is unknown or its credential has expired: sign in again"
    if error.status == HTTPStatus.FORBIDDEN and namespace is None:
        return f"{error}; name the namespaces that you may read with --namespace"
    if error.status == HTTPStatus.FORBIDDEN:
        return f"{error}; your account needs the right to list {PLURALS[kind]} there"
    return str(error)
