"""Applies and deletes single objects of a mesh, and remembers what came of it."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final, NamedTuple

from prometheus_client import Counter

from limpet_operator.mesh.gateway import text_hash
from limpet_operator.mesh.istio_object import IstioObject
from limpet_operator.sources.kube_error import ApiError
from limpet_operator.status.kube_writer import APPLY_PATCH, JSON, KubeCalls, NotSentError
from limpet_operator.status.lease import Lease
from limpet_operator.upkeep.contested import Contested
from limpet_operator.upkeep.istio_watch import IstioWatch, collection_path
from limpet_operator.upkeep.owners import Owners
from limpet_operator.upkeep.ownership import FIELD_MANAGER, is_as_wanted, is_ours, written_body
from limpet_operator.upkeep.progress import refusal, undone
from limpet_operator.upkeep.settings import UpkeepSettings
from limpet_operator.upkeep.steps import IstioKey

_log = logging.getLogger(__name__)

_REFUSED: Final = ("field not declared in schema", "request is too large", "send message larger than max")
"""What an API server says, with 500 and not with 400, of a field that the CRD lacks, and of more than etcd takes."""
_OFTEN: Final = 3
"""After how many times it is said that somebody undoes what is written."""
_MOST_REMOVED: Final = 4096
_MOST_SAID: Final = 4096
"""Texts that are remembered as said: names of others' objects are among them, and of those there may be any number."""


@dataclass(frozen=True, slots=True)
class UpkeepIntervals:
    """How hard the API server is worked; seconds."""

    settle_s: float = 0.05
    """From a change to the comparison."""
    writers: int = 8
    first_retry_s: float = 1.0
    last_retry_s: float = 60.0
    request_s: float = 4.0


class _Applied(NamedTuple):
    """What was applied last, or found there, and the version that has it: others may add fields of their own to it."""

    body: Mapping[str, Any]
    version: str


class IstioWrites:
    """All methods belong to one event loop."""

    def __init__(
        self,
        api: KubeCalls,
        lease: Lease,
        watch: IstioWatch,
        settings: UpkeepSettings,
        intervals: UpkeepIntervals,
        clock: Callable[[], float],
        writes: Counter,
    ) -> None:
        """`watch` hears of what was written before the API server reports it; `writes` is of `WriterMetrics`."""
        self._api = api
        self._lease = lease
        self._watch = watch
        self._settings = settings
        self._intervals = intervals
        self._clock = clock
        self._writes = writes
        self._owners = Owners(settings, watch, self._call)
        self._applied: dict[IstioKey, _Applied] = {}
        self._tried: dict[IstioKey, IstioObject | None] = {}
        """What failed last."""
        self._contested = Contested(intervals.first_retry_s, intervals.last_retry_s, clock, settings.gateway.label)
        self._removed: dict[IstioKey, str] = {}
        """Those that were removed, with the hash of what was: they may be wanted again and again, too."""
        self._failures: dict[IstioKey, int] = {}
        self._not_before_s: dict[IstioKey, float] = {}
        self._said: dict[str, None] = {}
        self.failed: dict[IstioKey, ApiError] = {}
        """Objects of which the API server has refused the last write."""

    def forget(self) -> None:
        """Another replica may have written since."""
        for known in (self._applied, self._tried, self._failures, self._not_before_s, self.failed):
            known.clear()
        self._removed.clear()
        self._contested.forget()
        self._owners.forget()

    def settled(self, key: IstioKey) -> None:
        """There is nothing left to do about it."""
        for known in (self._tried, self._failures, self._not_before_s, self.failed):
            known.pop(key, None)

    def wait_s(self, key: IstioKey, target: IstioObject | None) -> float:
        """For how long not to try the same again, after failures or because somebody undoes it each time."""
        contested_s = self._contested.wait_s(key)
        if contested_s > 0 and (target is None or not self._was_applied(key, self._body(target))):
            contested_s = 0.0  # It is another one now.
        if target != self._tried.get(key):
            return contested_s
        return max(contested_s, self._not_before_s.get(key, 0.0) - self._clock())

    def is_there(self, target: IstioObject) -> bool:
        """Whether the cluster has this object as it should be."""
        raw = self._watch.find(target.key)
        if raw is None:
            return False
        body = self._body(target)
        applied = self._applied.get(target.key)
        if applied is not None and applied.version == raw["metadata"]["resourceVersion"] and applied.body == body:
            return True
        if not (is_ours(raw, self._settings.gateway) and is_as_wanted(raw, body)):
            return False
        # The next look is cheap: an object of mode sidecar has a route for each host.
        self._applied[target.key] = _Applied(body, raw["metadata"]["resourceVersion"])
        return True

    async def try_to(self, key: IstioKey, target: IstioObject | None) -> None:
        """Apply the object, None: delete it. What comes of it is remembered; nothing is raised."""
        self._tried[key] = target
        try:
            await (self._remove(key) if target is None else self._apply(target))
        except NotSentError:
            self._count(key, "not_sent")
            self._retry_later(key, None)
        except ApiError as error:
            self._count(key, _outcome(error))
            if _is_refusal(error):
                self.failed[key] = error
                self.say_once(refusal(key, error))
            elif self._failures.get(key, 0) in (0, 4):
                _log.warning("%s %s/%s could not be written, trying again: %s", *key, error)
            self._retry_later(key, error.retry_after_s)
        except Exception:
            _log.exception("%s %s/%s could not be written", *key)
            self._retry_later(key, None)
        else:
            self.settled(key)

    def say_once(self, text: str) -> None:
        """Log what a person has to know, and not again."""
        if text in self._said:
            return
        if len(self._said) >= _MOST_SAID:
            del self._said[next(iter(self._said))]
        self._said[text] = None
        _log.warning("%s", text)

    def _body(self, target: IstioObject) -> dict[str, Any]:
        return written_body(target, self._watch.version, self._owners.known(target))

    async def _apply(self, target: IstioObject) -> None:
        raw = self._watch.find(target.key)
        if raw is None and target.key in self._applied:
            # Somebody has deleted it, or its owner, in whose place there may be a new one.
            self._owners.forget()
        await self._owners.learn(target)
        # What is ours is taken back from whoever has edited it; another's object of this name stays as it is.
        force = raw is not None and is_ours(raw, self._settings.gateway)
        if raw is not None and not force:
            raise ApiError(HTTPStatus.CONFLICT, "it has the name that ours would have")
        body = self._body(target)
        again = self._was_applied(target.key, body)
        query = f"fieldManager={FIELD_MANAGER}&force={str(force).lower()}"
        answer = await self._call("PATCH", f"{self._path(target.key)}?{query}", body, APPLY_PATCH)
        self._applied[target.key] = _Applied(body, answer["metadata"]["resourceVersion"])
        self._watch.put(answer)
        self._count(target.key, "applied")
        if again and self._contested.put_back(target.key) == _OFTEN:
            self.say_once(undone(target.key, raw, self._intervals.last_retry_s))

    def _was_applied(self, key: IstioKey, body: Mapping[str, Any]) -> bool:
        """Whether this is what was last written or found there.

        If it is not there now, somebody has undone it, or had it given up for theirs, which is gone.
        """
        applied = self._applied.get(key)
        if applied is None:
            return key in self._removed and self._removed[key] == text_hash(repr(body))
        return applied.body == body

    async def _remove(self, key: IstioKey) -> None:
        raw = self._watch.find(key)
        if raw is None:
            return
        try:
            await self._call("DELETE", self._path(key), {"preconditions": {"uid": raw["metadata"]["uid"]}}, JSON)
        except ApiError as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise
        if (applied := self._applied.pop(key, None)) is not None:
            if len(self._removed) >= _MOST_REMOVED:
                del self._removed[next(iter(self._removed))]
            self._removed[key] = text_hash(repr(applied.body))
        self._watch.drop(key)
        self._count(key, "removed")

    async def _call(self, method: str, path: str, body: Mapping[str, Any] | None, content_type: str) -> Any:
        remaining_s = self._lease.remaining_s()
        if remaining_s <= 0:
            raise NotSentError
        return await self._api.call(
            method,
            path,
            body,
            content_type=content_type,
            timeout_s=min(self._intervals.request_s, remaining_s),
            gate=self._lease.valid,
        )

    def _count(self, key: IstioKey, outcome: str) -> None:
        self._writes.labels(key[0], outcome).inc()

    def _path(self, key: IstioKey) -> str:
        kind, namespace, name = key
        return f"{collection_path(kind, namespace, self._watch.version)}/{name}"

    def _retry_later(self, key: IstioKey, at_least_s: float | None) -> None:
        failures = self._failures.get(key, 0)
        backoff_s = min(self._intervals.first_retry_s * 2**failures, self._intervals.last_retry_s)
        self._failures[key] = min(failures + 1, 16)
        self._not_before_s[key] = self._clock() + max(backoff_s, at_least_s or 0.0)


def _is_refusal(error: ApiError) -> bool:
    return not error.is_transient or any(each in str(error) for each in _REFUSED)


def _outcome(error: ApiError) -> str:
    """Why a write failed, as metrics have it."""
    if error.status == HTTPStatus.FORBIDDEN:
        return "not_permitted"
    if error.status == HTTPStatus.CONFLICT:
        return "conflict"
    return "not_taken" if _is_refusal(error) else "away"
