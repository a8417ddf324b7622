"""A cluster as objects to plan: joins the watches, the Secrets that Providers name, and listings that check both.

Before the first listing has been taken in whole, with every Secret that is named in it, nothing is concluded: what
has not been heard of yet must not be taken for gone. Later a listing finds, every few seconds, what a watch can miss:
deletions while it was away (kopf lists anew without saying what is gone), and a watch that died without a word.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Final

from limpet_operator.resources.objects import Objects, Parser
from limpet_operator.resources.problem import Invalid, ObjectKey
from limpet_operator.sources import kopf_watch
from limpet_operator.sources.cluster_store import ClusterStore, Listing
from limpet_operator.sources.crd_check import crd_problem
from limpet_operator.sources.kopf_watch import WatchEnded, WatchEvent
from limpet_operator.sources.kube_error import ApiError
from limpet_operator.sources.kube_reader import Access, KubeReader
from limpet_operator.sources.listing import list_names
from limpet_operator.sources.referenced import ReadResult, ReferencedObjects
from limpet_operator.sources.references import named_by, references, without_unknown

_log = logging.getLogger(__name__)

UNHEALTHY_S: Final = 180.0
"""A watch that is behind for so long is beyond what this process can do about it."""


Watch = Callable[[Access, Sequence[str], Callable[[WatchEvent], None]], Awaitable[None]]
"""Delivers events until it is cancelled; raises WatchEnded."""


@dataclass(frozen=True, slots=True)
class WatchIntervals:
    """Seconds between looks at the API server, on average."""

    compare_s: float = 15.0
    """Between two comparisons with what is there."""
    again_s: float = 1.0
    """After a look that failed, and while the CRDs are missing."""
    behind_s: float = 30.0
    """How long the watch may be behind before it is started anew."""
    leave_out_s: float = 5.0
    """How long a namespace may be forbidden, at the start, before the others go on without it: rights take a moment."""


@dataclass(frozen=True, slots=True)
class Where:
    """What is read: which API server, which namespaces (none: all)."""

    access: Access
    namespaces: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class ClusterCallbacks:
    """Who hears of changes."""

    objects: Callable[[], None]
    """Something that may change the plan."""
    statuses: Callable[[], None]
    """Somebody wrote a status, and nothing else; our own writes come back so, by the thousand."""
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
        hooks: ClusterCallbacks,
        dice: Random,
        pace: WatchIntervals | None = None,
        watch: Watch = kopf_watch.watch,
    ) -> None:
        self._where = where
        self._watch_kinds = watch
        self._api = api
        self._crds = crds
        self._changed = hooks.objects
        self._status_changed = hooks.statuses
        self._unreadable_changed = hooks.unreadable
        self._dice = dice
        self._pace = pace or WatchIntervals()
        self.store = ClusterStore(parser)
        self._named = ReferencedObjects(api, self._take_named, self._look_soon, dice)
        self._look = asyncio.Event()
        self._missing: set[ObjectKey] | None = None
        """What the first listing had and no watch has told of yet; None: it has not been taken."""
        self._behind: dict[ObjectKey, tuple[int, float]] = {}
        """What the last listing had newer than here: which version, and since when."""
        self.unreadable: Mapping[str, str] = {}
        """The namespaces that may not be read, and why; what was heard of them before stays in force."""
        self._in_the_way: str | None = "the Kubernetes API has not been asked yet"
        self._began = 0.0
        """When the watch that runs now was started, by the loop's clock."""
        self._heard: dict[tuple[str, str | None], float] = {}
        """When each part of it told of anything for the last time."""
        self._planned = Objects()
        self._started = False
        """Whether everything was known once; from then on each object waits for itself alone."""

    @property
    def not_synced(self) -> str | None:
        """Why nothing can be planned yet; None: everything was heard of once."""
        if self._missing is None:
            return self._in_the_way or "the first listing is under way"
        if self._missing:
            return f"{len(self._missing)} objects of the first listing are still to come"
        if not self._started and (unknown := self._named.unknown):
            return f"{len(unknown)} Secrets or ConfigMaps are still to be read"
        return None

    @property
    def trouble(self) -> str | None:
        """What keeps news from coming, now; what was heard of before stays in force."""
        return self._in_the_way

    def stuck(self, now: float) -> str | None:
        """Why this process should be started anew; `now` is the loop's time."""
        silent_s = max(
            (now - max(since, self._heard.get(self._stream(key), 0.0)) for key, (_, since) in self._behind.items()),
            default=0.0,
        )
        if silent_s < UNHEALTHY_S:
            return None
        return f"nothing was heard for {silent_s:.0f} s of changes to {len(self._behind)} objects"

    def objects(self) -> Objects | None:
        """What is to be planned now; None: not synced yet."""
        for key in self._named.want(references(self.store.objects)):
            self.store.drop(key)
        if self._missing is None or self._missing:
            return None
        unknown = self._named.unknown
        if unknown and not self._started:
            return None
        self._started = True
        self._planned = without_unknown(self.store.objects, self._planned, unknown)
        return self._planned

    async def run(self) -> None:
        """Follow until cancelled; whatever goes wrong is said and tried again. Raises NoClusterError."""
        try:
            while True:
                await self._crds_served()
                if (readable := await self._readable()) is not None:
                    self._began = asyncio.get_running_loop().time()
                    async with asyncio.TaskGroup() as group:
                        watching = group.create_task(self._watch(readable), name="watch the four kinds")
                        group.create_task(self._compare(watching), name="compare with listings")
                await asyncio.sleep(self._soon())
        finally:
            await self._named.close()

    async def _readable(self) -> Sequence[str] | None:
        """The namespaces to watch (none: all), once all may be read or some had time enough; None: nothing can be."""
        began_s = asyncio.get_running_loop().time()
        while len(self._where.namespaces) > 1:
            try:
                _, refused = await list_names(self._api, self._where.namespaces)
            except ApiError as error:
                self._note(str(error))
                return None
            waited_s = asyncio.get_running_loop().time() - began_s
            if not refused or self._started or waited_s >= self._pace.leave_out_s:
                self._leave_out(refused)
                return [namespace for namespace in self._where.namespaces if namespace not in refused]
            await asyncio.sleep(self._soon())
        return self._where.namespaces

    def _leave_out(self, refused: Mapping[str, str]) -> None:
        """Say once of each namespace that it cannot be read, and once that it can be again."""
        for namespace, why in refused.items():
            if namespace not in self.unreadable:
                _log.warning(
                    "namespace %s cannot be read, and the others are served without it: %s. "
                    "Does it exist, and is there a Role with a RoleBinding for this account?",
                    namespace, why, extra={"namespace": namespace},
                )  # fmt: skip
        for namespace in self.unreadable.keys() - refused.keys():
            _log.info("namespace %s can be read now", namespace, extra={"namespace": namespace})
        self.unreadable = dict(refused)
        self._unreadable_changed(self.unreadable)

    async def _watch(self, namespaces: Sequence[str]) -> None:
        """Until kopf ends, which is said, or until cancelled because it is to be started anew."""
        try:
            await self._watch_kinds(self._where.access, namespaces, self._take)
        except WatchEnded as ended:
            _log.warning("watching the Kubernetes API ended and is started anew: %s", ended)

    async def _crds_served(self) -> None:
        while True:
            try:
                problem = await crd_problem(self._api, self._crds)
            except ApiError as error:
                problem = str(error)
            self._note(problem)
            if problem is None:
                return
            await asyncio.sleep(self._soon())

    async def _compare(self, watching: "asyncio.Task[None]") -> None:
        """Look again and again, for as long as the watch runs."""
        while not watching.done():
            self._look.clear()
            try:
                listings, refused = await list_names(self._api, self._where.namespaces)
            except ApiError as error:
                self._note(str(error))
                self._behind = {}
                if error.status == 404:
                    watching.cancel()  # A kind is gone: wait for it to come back.
                wait = self._soon()
            else:
                self._note(None)
                self._take_listings(listings)
                wait = self._pace.compare_s * self._dice.uniform(0.75, 1.25)
                if refused.keys() != self.unreadable.keys():
                    watching.cancel()  # It is started anew for those that may be read now.
                if self._overdue():
                    _log.warning("the watch is behind what a listing shows; it is started anew")
                    watching.cancel()
            looking = asyncio.create_task(self._look.wait())
            await asyncio.wait({looking, watching}, timeout=wait, return_when=asyncio.FIRST_COMPLETED)
            if not looking.cancel():
                await asyncio.sleep(self._soon())  # What calls for a look comes in bursts.

    def _take_listings(self, listings: Sequence[Listing]) -> None:
        behind: dict[ObjectKey, tuple[int, float]] = {}
        now = asyncio.get_running_loop().time()
        for listing in listings:
            if self.store.drop_unlisted(listing).spec:
                self._changed()
            for key in self.store.behind(listing):
                held = self.store.stored(key)
                version = held.resource_version if held else 0
                known = self._behind.get(key)
                behind[key] = known if known is not None and known[0] == version else (version, now)
        self._behind = behind
        # What was deleted since then, before the watch began, is nothing that a watch will tell of.
        missing = set(behind) if self._missing is None else self._missing & behind.keys()
        if missing != self._missing:
            self._missing = missing
            self._changed()

    def _overdue(self) -> bool:
        """Whether a watch is silent although it has much to tell. A slow one, on a slow machine, is left alone."""
        now = asyncio.get_running_loop().time()
        return any(
            now - max(since, self._began, self._heard.get(self._stream(key), 0.0)) > self._pace.behind_s
            for key, (_, since) in self._behind.items()
        )

    def _stream(self, key: ObjectKey) -> tuple[str, str | None]:
        """Which of kopf's watches tells of this object."""
        return key.kind, key.namespace if self._where.namespaces else None

    def _take(self, event: WatchEvent) -> None:
        metadata = event.raw["metadata"]
        key = ObjectKey(event.kind, metadata["namespace"], metadata["name"])
        if event.deleted:
            change = self.store.drop(key, metadata["uid"])
        else:
            change = self.store.put({**event.raw, "kind": event.kind})
        if self._missing:
            self._missing.discard(key)
        elif event.listed and self._missing is not None:
            self._look_soon()
        self._behind.pop(key, None)
        self._heard[self._stream(key)] = asyncio.get_running_loop().time()
        if change.spec:
            # A new Provider waits for its Secret, whose news comes then: to plan before that would be for nothing.
            if not (self._started and self._named.ask(named_by(self.store.parsed(key)))):
                self._changed()
        elif change.status:
            self._status_changed()

    def _take_named(self, key: ObjectKey, news: ReadResult) -> None:
        if news is None:
            self.store.drop(key)
        elif isinstance(news, Invalid):
            self.store.refuse(news)
        else:
            self.store.put(news)
        # Even news that changes nothing: a plan may have waited for it.
        self._changed()

    def _look_soon(self) -> None:
        self._look.set()

    def _soon(self) -> float:
        return self._pace.again_s * self._dice.uniform(0.75, 1.25)

    def _note(self, problem: str | None) -> None:
        """Say once what is in the way, and once that it no longer is."""
        if problem != self._in_the_way and problem is not None:
            _log.warning("%s", problem)
        elif problem is None and self._in_the_way is not None and self._missing is not None:
            _log.info("the Kubernetes API answers again")
        self._in_the_way = problem
