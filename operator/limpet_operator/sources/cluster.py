"""A cluster as objects to plan: joins the watches, the Secrets that Providers name, and listings that check both.

Nothing is concluded before the whole first listing has been received, with every Secret that its Providers name: an
object that has not been received yet must not be taken for deleted. After that, a listing every few seconds finds what
a watch can miss: deletions while it was away (kopf lists again without reporting what is gone), and a watch that has
died silently.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Final

from limpet_operator.resources.objects import Objects, Parser
from limpet_operator.resources.problem import Invalid, ObjectKey
from limpet_operator.sources import kopf_watch
from limpet_operator.sources.cluster_store import ClusterStore, Listing
from limpet_operator.sources.crd_check import crd_problem
from limpet_operator.sources.freshness import WatchFreshness
from limpet_operator.sources.kopf_watch import WatchEndedError, WatchEvent
from limpet_operator.sources.kube_error import ApiError
from limpet_operator.sources.kube_reader import Access, KubeReader
from limpet_operator.sources.labelled import LabelledSecrets
from limpet_operator.sources.listing import list_names
from limpet_operator.sources.namespaces import ReadableNamespaces
from limpet_operator.sources.referenced import ReadResult, ReferencedObjects
from limpet_operator.sources.references import named_by, references, without_unknown

_log = logging.getLogger(__name__)

UNHEALTHY_S: Final = 180.0
"""If a watch stays silent for this long, although it is behind, restarting it within this process does not help."""


Watch = Callable[[Access, Sequence[str], Callable[[WatchEvent], None]], Awaitable[None]]
"""Delivers events until it is cancelled; raises WatchEndedError."""


@dataclass(frozen=True, slots=True)
class WatchIntervals:
    """Seconds; those between requests are averages."""

    compare_s: float = 15.0
    """Between two comparisons with a listing."""
    retry_s: float = 1.0
    """After a request that failed, and while the CRDs are missing."""
    behind_s: float = 30.0
    """How long the watch may be behind and silent before it is restarted."""
    leave_out_s: float = 5.0
    """How long a namespace may be forbidden at the start before the others go on without it: rights take a moment."""


@dataclass(frozen=True, slots=True)
class Where:
    """What is read: which API server, which namespaces (none: all)."""

    access: Access
    namespaces: Sequence[str] = ()
    keys_in: str | None = None
    """The namespace whose labelled Secrets hold keys of clients; None: they are not looked for."""
    further: frozenset[ObjectKey] = frozenset()
    """Secrets that are followed although no Provider names them."""


@dataclass(frozen=True, slots=True)
class ClusterCallbacks:
    """What is called on changes."""

    objects: Callable[[], None]
    """The plan may change."""
    statuses: Callable[[], None]
    """Only the status of an object changed; our own writes come back like this, by the thousand."""
    unreadable: Callable[[Mapping[str, str]], None] = lambda _: None
    """These namespaces, and no others, may not be read now, for these reasons."""


class ClusterSource:
    """Follows a cluster. All methods belong to one event loop."""

    def __init__(
        self,
        where: Where,
        api: KubeReader,
        parser: Parser,
        crds: Sequence[Mapping[str, Any]],
        callbacks: ClusterCallbacks,
        rng: Random,
        intervals: WatchIntervals | None = None,
        watch: Watch = kopf_watch.watch,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._where = where
        self._watch_kinds = watch
        self._api = api
        self._crds = crds
        self._objects_changed = callbacks.objects
        self._status_changed = callbacks.statuses
        self._rng = rng
        self._intervals = intervals or WatchIntervals()
        self._clock = clock
        self._sleep = sleep
        self.store = ClusterStore(parser)
        self._freshness = WatchFreshness(by_namespace=bool(where.namespaces))
        self._namespaces = ReadableNamespaces(where.namespaces, callbacks.unreadable)
        self._referenced = ReferencedObjects(
            api, self._take_referenced, self._compare_soon, rng, clock=clock, sleep=sleep
        )
        self._labelled: LabelledSecrets | None = None
        if where.keys_in is not None:
            self._labelled = LabelledSecrets(api, where.keys_in, self._take_labelled, rng, sleep=sleep)
        self._comparison_wanted = asyncio.Event()
        self._problem: str | None = "the Kubernetes API has not been asked yet"
        self._planned = Objects()
        self._started = False
        """Whether everything was known once; from then on each object waits only for its own references."""

    @property
    def not_synced(self) -> str | None:
        """Why nothing can be planned yet; None: everything was received once."""
        missing = self._freshness.missing
        if missing is None:
            return self._problem or "the first listing is under way"
        if missing:
            return f"{missing} objects of the first listing have not been received yet"
        if not self._started and (unknown := self._referenced.unknown):
            return f"{len(unknown)} Secrets or ConfigMaps have not been read yet"
        if self._labelled is not None and not self._labelled.known:
            return "the Secrets with keys of clients have not been read yet"
        return None

    @property
    def problem(self) -> str | None:
        """What keeps changes from being received now; what was received before stays in force."""
        return self._problem

    @property
    def keys_problem(self) -> str | None:
        """Why keys of clients may not be read; those that were read before stay in force."""
        return None if self._labelled is None else self._labelled.problem

    @property
    def unreadable(self) -> Mapping[str, str]:
        """The namespaces that may not be read, with the reason; what was read of them before stays in force."""
        return self._namespaces.refused

    def stuck(self) -> str | None:
        """Why this process should be restarted."""
        silent_s = self._freshness.silent_s(self._clock())
        if silent_s < UNHEALTHY_S:
            return None
        return f"nothing was received for {silent_s:.0f} s of changes to {self._freshness.behind} objects"

    def take_objects(self) -> Objects | None:
        """The objects to plan now; None: not synced yet. From now on exactly what these refer to is followed."""
        for key in self._referenced.follow_only(references(self.store.objects) | self._where.further):
            if self._labelled is None or key not in self._labelled.keys:
                self.store.drop(key)
        if self._freshness.missing != 0:
            return None
        unknown = self._referenced.unknown
        if not self._started and (unknown or (self._labelled is not None and not self._labelled.known)):
            return None
        self._started = True
        self._planned = without_unknown(self.store.objects, self._planned, unknown)
        return self._planned

    async def run(self) -> None:
        """Follow until cancelled; whatever goes wrong is logged and tried again. Raises NoClusterError."""
        labelled = None if self._labelled is None else asyncio.create_task(self._labelled.run(), name="watch keys")
        try:
            while True:
                await self._crds_served()
                if (readable := await self._readable()) is not None:
                    self._freshness.watch_started(self._clock())
                    async with asyncio.TaskGroup() as group:
                        watching = group.create_task(self._watch(readable), name="watch the four kinds")
                        group.create_task(self._compare(watching), name="compare with listings")
                await self._sleep(self._retry_s())
        finally:
            if labelled is not None:
                labelled.cancel()
            await self._referenced.close()

    async def _crds_served(self) -> None:
        while True:
            try:
                problem = await crd_problem(self._api, self._crds)
            except ApiError as error:
                problem = str(error)
            self._note(problem)
            if problem is None:
                return
            await self._sleep(self._retry_s())

    async def _readable(self) -> Sequence[str] | None:
        """The namespaces to watch (none: all), once all can be read or some have had enough time; None: none can."""
        began_s = self._clock()
        while len(self._where.namespaces) > 1:
            try:
                _, refused = await list_names(self._api, self._where.namespaces)
            except ApiError as error:
                self._note(str(error))
                return None
            if not refused or self._started or self._clock() - began_s >= self._intervals.leave_out_s:
                self._namespaces.update(refused)
                return self._namespaces.readable
            await self._sleep(self._retry_s())
        return self._where.namespaces

    async def _watch(self, namespaces: Sequence[str]) -> None:
        """Until kopf ends, which is logged, or until cancelled to be restarted."""
        try:
            await self._watch_kinds(self._where.access, namespaces, self._take)
        except WatchEndedError as ended:
            _log.warning("watching the Kubernetes API ended and is restarted: %s", ended)

    async def _compare(self, watching: "asyncio.Task[None]") -> None:
        """Compare with listings for as long as the watch runs."""
        while not watching.done():
            self._comparison_wanted.clear()
            try:
                listings, refused = await list_names(self._api, self._where.namespaces)
            except ApiError as error:
                self._note(str(error))
                self._freshness.listing_failed()
                if error.status == 404:
                    watching.cancel()  # A kind is gone: wait for it to come back.
                wait_s = self._retry_s()
            else:
                self._note(None)
                self._take_listings(listings)
                wait_s = self._intervals.compare_s * self._rng.uniform(0.75, 1.25)
                if refused.keys() != self.unreadable.keys():
                    watching.cancel()  # It is restarted for those that may be read now.
                if self._freshness.is_overdue(self._clock(), self._intervals.behind_s):
                    _log.warning("the watch is behind a listing and silent; it is restarted")
                    watching.cancel()
            await self._until_comparison(watching, wait_s)
            if self._comparison_wanted.is_set():
                await self._sleep(self._retry_s())  # What calls for a comparison comes in bursts.

    async def _until_comparison(self, watching: "asyncio.Task[None]", wait_s: float) -> None:
        """Wait for so long, until the watch ends or until a comparison is wanted."""
        waits = [asyncio.ensure_future(self._sleep(wait_s)), asyncio.create_task(self._comparison_wanted.wait())]
        try:
            await asyncio.wait({*waits, watching}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    def _take_listings(self, listings: Sequence[Listing]) -> None:
        behind: dict[ObjectKey, int] = {}
        for listing in listings:
            if self.store.drop_unlisted(listing).spec:
                self._objects_changed()
            for key in self.store.behind(listing):
                stored = self.store.stored(key)
                behind[key] = stored.resource_version if stored else 0
        if self._freshness.listing_taken(behind, self._clock()):
            self._objects_changed()

    def _take(self, event: WatchEvent) -> None:
        metadata = event.raw["metadata"]
        key = ObjectKey(event.kind, metadata["namespace"], metadata["name"])
        if event.deleted:
            change = self.store.drop(key, metadata["uid"])
        else:
            change = self.store.put({**event.raw, "kind": event.kind})
        if event.listed and self._freshness.missing == 0:
            self._compare_soon()
        self._freshness.received(key, self._clock())
        if change.spec:
            # A new Provider waits for its Secret, which calls for a plan when it is read: one before would be wasted.
            if not (self._started and self._referenced.follow(named_by(self.store.parsed(key)))):
                self._objects_changed()
        elif change.status:
            self._status_changed()

    def _take_referenced(self, key: ObjectKey, result: ReadResult) -> None:
        if result is None:
            self.store.drop(key)
        elif isinstance(result, Invalid):
            self.store.refuse(result)
        else:
            self.store.put(result)
        # Even a result that changes nothing: a plan may have waited for it.
        self._objects_changed()

    def _take_labelled(self, key: ObjectKey, raw: Mapping[str, Any] | None) -> None:
        if raw is not None:
            self.store.put(raw)
        elif not self._referenced.follows(key):
            self.store.drop(key)
        self._objects_changed()

    def _compare_soon(self) -> None:
        self._comparison_wanted.set()

    def _retry_s(self) -> float:
        return self._intervals.retry_s * self._rng.uniform(0.75, 1.25)

    def _note(self, problem: str | None) -> None:
        """Log a problem once when it begins, and once when it is over."""
        if problem != self._problem and problem is not None:
            _log.warning("%s", problem)
        elif problem is None and self._problem is not None and self._freshness.missing is not None:
            _log.info("the Kubernetes API answers again")
        self._problem = problem
