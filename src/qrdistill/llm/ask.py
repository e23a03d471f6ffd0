"""Fills the reply cache: asks whatever it does not hold yet, within limits and budget.

Each teacher has a lane of its own: a feeder that walks through its requests lazily, skips what is
cached and claims the rest; workers that ask; and one settler for all lanes that commits replies in
groups. Memory holds a few requests per worker, however many there are in all.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from types import FrameType
from typing import Any

from qrdistill.base.errors import BoundaryError, BudgetError, Interrupted, QRDistillError
from qrdistill.base.progress import Progress, Silent
from qrdistill.llm.batch.batches import Batches
from qrdistill.llm.batch.desk import Desk
from qrdistill.llm.client import ChatConfig, address, grouped, longer, make_client
from qrdistill.llm.config import OpenAITeacher
from qrdistill.llm.live_counts import Board, Budget, Counts
from qrdistill.llm.pace.limits import Stop
from qrdistill.llm.reply_cache import ChatRequest, Failed, Reply, ReplyCache
from qrdistill.llm.worker import Lane, Outcome

_GROUP = 64  # requests looked up at once
_SIGN_OF_LIFE = 20.0  # seconds between two updates of the claims


@dataclass(frozen=True)
class Job:
    """What one teacher is asked. `requests` is walked lazily; under a budget it is walked twice, so it
    must then be a list or another iterable that starts anew each time."""

    config: ChatConfig
    requests: Iterable[ChatRequest]
    num_requests: int | None = None


@dataclass(frozen=True)
class _Answered:
    """What a worker hands over to be committed."""

    lane: Lane
    request: ChatRequest
    outcome: Outcome
    committed: asyncio.Future[None]


def fill(
    jobs: Sequence[Job],
    cache: ReplyCache,
    *,
    base_dir: Path,
    budget: Budget | None = None,
    progress: Progress | None = None,
) -> Mapping[str, Counts]:
    """Asks every request that has no reply in the cache; returns counts per teacher's name.

    Afterwards `cache.replies(requests)` holds the replies, or `cache.failures([request.key])` the reason
    why there is none. Ctrl-C (and SIGTERM) finishes the requests in flight; a second one stops at once.

    Raises
        ConfigError, InputError  a teacher cannot be asked (no key, no SDK): before anything is sent
        TeacherError             no request can succeed
        BudgetError              the budget is reached, and requests are left
        Interrupted              after Ctrl-C
        BoundaryError            the cache cannot be written
    In every case what was paid for is in the cache, and the same call goes on from there.
    """
    names = [job.config.name for job in jobs]
    assert len(set(names)) == len(names), f"one job per teacher: {names}"
    run = _Run(jobs, cache, base_dir=base_dir, budget=budget or Budget(), progress=progress or Silent())
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        asyncio.run(run.all())
    else:  # a notebook has a loop of its own: work beside it
        with ThreadPoolExecutor(1) as beside:
            beside.submit(asyncio.run, run.all()).result()
    return run.board.counts


class _Run:
    def __init__(
        self,
        jobs: Sequence[Job],
        cache: ReplyCache,
        *,
        base_dir: Path,
        budget: Budget,
        progress: Progress,
    ) -> None:
        self._jobs, self._cache, self._base_dir = jobs, cache, base_dir
        self._budget, self._progress = budget, progress
        self._unwritten: list[tuple[str, Reply]] = []  # what attempts cost that brought no reply
        self.board = Board({job.config.name: job.num_requests for job in jobs}, budget=budget)

    async def all(self) -> None:
        self._stop = Stop()
        self._settled: asyncio.Queue[_Answered | None] = asyncio.Queue()  # holds one per worker at most
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="reply-cache")
        self._paid_before()
        lanes = [self._lane(job) for job in self._jobs]
        for lane in lanes:
            if isinstance(lane.config, OpenAITeacher):
                lane.batches = self._batches(lane, lane.config)
                if not await lane.batches.adopt() and not lane.config.batch:
                    lane.batches = None
        self.board.batches = lambda: ", ".join(filter(None, (str(lane.batches or "") for lane in lanes)))
        self.board.at_once = lambda: ", ".join(
            f"{lane.name} {lane.endpoints}" for lane in lanes if lane.open and not lane.in_batches
        )
        settler = asyncio.create_task(self._settle())
        keeper = asyncio.create_task(self._keep_claims())
        tasks = [asyncio.create_task(work) for lane in lanes for work in self._work(lane)]
        try:
            with self._signals(tasks, lanes):
                await _all_or_first_error([*tasks, settler], until=tasks)
        finally:
            for task in (*tasks, keeper):
                task.cancel()
            await asyncio.gather(*tasks, keeper, return_exceptions=True)
            if not settler.done():
                await self._settled.put(None)
            await asyncio.gather(settler, return_exceptions=True)
            for lane in lanes:
                if told := lane.endpoints.settled_at():
                    self._progress.log(f"teacher {lane.name!r}: {told}")
                await lane.close()
            if self._unwritten:
                with suppress(BoundaryError):  # the disk refuses, which is said already
                    await self._in_writer(self._cache.settle, [], self._unwritten)
            self._writer.shutdown()
            self.board.show(self._progress, now=True)
        settler.result()
        if self._stop.reason:
            raise self._explained(self._stop.reason)
        for name, counts in self.board.counts.items():
            counts.warn(name, self._progress)

    def _paid_before(self) -> None:
        """Under a budget: what this run's requests have cost so far, known before anything is bought."""
        if not self._budget.limited:
            return
        for job in self._jobs:
            assert iter(job.requests) is not job.requests, "under a budget requests are walked twice"
            for group in grouped(job.requests, _GROUP):
                for reply in self._cache.wasted([request.key for request in group]):
                    self._budget.spend(reply)
                for request, reply in self._cached(group):
                    self._budget.spend(reply)
                    more = longer(job.config, request, reply)
                    again = self._cache.replies([more]).get(more.key) if more else None
                    for further in [*([again] if again else []), *(self._cache.wasted([more.key]) if more else [])]:
                        self._budget.spend(further)

    def _cached(self, group: Sequence[ChatRequest]) -> list[tuple[ChatRequest, Reply]]:
        found = self._cache.replies(group)
        return [(request, found[request.key]) for request in group if request.key in found]

    def _lane(self, job: Job) -> Lane:
        # made when something must be asked: what is cached needs no key and no server
        make = partial(make_client, base_dir=self._base_dir)
        return Lane(
            job.config,
            make,
            stop=self._stop,
            may_buy=self._may_buy,
            waste=self._wasted,
            say=self._progress.log,
            num_known=job.num_requests,
        )

    def _batches(self, lane: Lane, config: OpenAITeacher) -> Batches:
        def again(request: ChatRequest) -> None:
            lane.again(request)
            lane.settled()

        def book(request: ChatRequest, outcome: Reply | Failed) -> None:
            self._book(lane, request, outcome)

        desk = Desk(
            cache=self._cache,
            budget=self._budget,
            stop=self._stop,
            log=self._progress.log,
            write=self._in_writer,
            next=lane.next,
            starved=lambda: lane.starved,
            book=book,
            again=again,
            shown=lambda: self.board.show(self._progress),
        )
        return Batches(config, host=address(config, self._base_dir)[0], desk=desk)

    async def _may_buy(self) -> bool:
        while self._budget.waits() and not self._stop:
            await self._stop.sleep(0.2)
        spent = self._budget.exceeded()
        if spent:
            self._stop.now(BudgetError(spent))
        return not self._stop

    def _wasted(self, name: str, request: ChatRequest, reply: Reply) -> None:
        self._budget.spend(reply)
        self.board.counts[name].wasted_usd += reply.cost
        self._unwritten.append((request.key, reply))

    def _work(self, lane: Lane) -> Iterator[Any]:
        job = next(job for job in self._jobs if job.config.name == lane.name)
        yield self._feed(lane, job)
        if lane.batches:
            yield lane.batches.run(gather=lane.in_batches, ended=lane.ended)
        if not lane.in_batches:
            for _ in range(lane.workers):
                yield self._ask(lane)

    # --- the three kinds of tasks -------------------------------------------------------------------

    async def _feed(self, lane: Lane, job: Job) -> None:
        """Puts what must be asked into the lane's queue; ends when nothing is left or open."""
        source, elsewhere = iter(job.requests), list[ChatRequest]()
        ended = False
        while not self._stop:
            group = lane.take_again(_GROUP)
            if not group and not ended and len(elsewhere) < 4 * _GROUP:
                group = list(islice(source, _GROUP))
                ended = not group
            lane.starved = not group and lane.all_taken
            if not group and (elsewhere or lane.open):
                await self._stop.sleep(0.2 if elsewhere or lane.batches else 0.05)
                group, elsewhere = elsewhere, []
            elif not group:
                break
            cached = dict(self._cached(group))
            for request, reply in cached.items():
                self._book_cached(lane, request, reply)
            wanted = [request for request in group if request not in cached and not lane.waits_for(request)]
            for part in grouped(wanted, _GROUP if lane.in_batches else max(8, lane.concurrency // 4)):
                elsewhere += await self._offer(lane, part)
            self.board.show(self._progress)
            await asyncio.sleep(0)
        await lane.no_more()

    async def _offer(self, lane: Lane, part: Sequence[ChatRequest]) -> list[ChatRequest]:
        """Claims and queues; returns those that another process is asking right now."""
        if self._stop:
            return []
        mine = await self._in_writer(self._cache.claim, [request.key for request in part])
        for request in part:
            if request.key in mine:
                await lane.offer(request)
        return [request for request in part if request.key not in mine]

    def _book_cached(self, lane: Lane, request: ChatRequest, reply: Reply) -> None:
        lane.has_replies = True
        self.board.cached(lane.name, request, reply)
        self._again(lane, request, reply)

    def _again(self, lane: Lane, request: ChatRequest, reply: Reply) -> None:
        more = longer(lane.config, request, reply)
        if more:
            lane.again(more)

    async def _ask(self, lane: Lane) -> None:
        """A worker: one request after the other, until the queue says that there are no more.

        It waits until its reply is committed, so that a killed process loses at most one a worker: twice the
        concurrency, half of them on the wire and half on the way to the disk. The budget is looked at behind the
        gate, see `Lane.ask`.
        """
        while (request := await lane.next()) is not None:
            outcome = await lane.ask(request)
            if isinstance(outcome, Reply):
                self._budget.spend(outcome)
            committed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            await self._settled.put(_Answered(lane, request, outcome, committed))
            await committed

    async def _settle(self) -> None:
        """Commits outcomes in groups, then counts them; only now may anyone use them."""
        while (first := await self._settled.get()) is not None:
            group, last = [first], False
            while not self._settled.empty():
                item = self._settled.get_nowait()
                if item is None:
                    last = True
                    break
                group.append(item)
            outcomes = [(one.request, one.outcome) for one in group if one.outcome is not None]
            unasked = [one.request.key for one in group if one.outcome is None]
            wasted, self._unwritten = self._unwritten, []
            if outcomes or wasted:
                await self._in_writer(self._cache.settle, outcomes, wasted)
            if unasked:
                await self._in_writer(self._cache.release, unasked)
            for one in group:
                self._book(one.lane, one.request, one.outcome)
                if not one.committed.done():  # its worker may have been cancelled meanwhile
                    one.committed.set_result(None)
            self.board.show(self._progress)
            if last:
                break

    def _book(self, lane: Lane, request: ChatRequest, outcome: Outcome) -> None:
        """Counts what is committed."""
        if isinstance(outcome, Reply):
            self.board.bought(lane.name, request, outcome)
            self._again(lane, request, outcome)
        elif isinstance(outcome, Failed):
            self.board.failed(lane.name, request, outcome)
        lane.settled()

    async def _keep_claims(self) -> None:
        while True:
            await asyncio.sleep(_SIGN_OF_LIFE)
            await self._in_writer(self._cache.keep_claims)

    async def _in_writer(self, function: Any, *arguments: Any) -> Any:
        """The cache's writes wait for the disk: in a thread of their own, one after the other."""
        return await asyncio.get_running_loop().run_in_executor(self._writer, function, *arguments)

    # --- how it ends --------------------------------------------------------------------------------

    @contextmanager
    def _signals(self, tasks: Sequence[asyncio.Task[None]], lanes: Sequence[Lane]) -> Generator[None]:
        """First signal: finish what is in flight. Second: cancel it."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        loop = asyncio.get_running_loop()

        def ask_to_stop() -> None:
            if self._stop:
                for task in tasks:
                    task.cancel()
                return
            self._stop.now(Interrupted("interrupted"))
            in_flight = sum(lane.endpoints.in_flight for lane in lanes)
            self._progress.log(f"finishing {in_flight} requests in flight; press Ctrl-C again to stop at once")

        def handler(number: int, frame: FrameType | None) -> None:
            loop.call_soon_threadsafe(ask_to_stop)

        before = {number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, previous in before.items():
                signal.signal(number, previous)

    def _explained(self, reason: BaseException) -> BaseException:
        if not isinstance(reason, QRDistillError):
            return reason
        bought = sum(counts.bought for counts in self.board.counts.values())
        usd = sum(counts.usd for counts in self.board.counts.values())
        mend = ""
        if isinstance(reason, BudgetError):
            mend = f"raise the budget under `{self._budget.section}` and "
        kept = f"{bought} replies (${usd:.4f}) were bought just now and are in {self._cache.path}: " if bought else ""
        return type(reason)(f"{reason}; {kept}{mend}run the same command again to go on, nothing is asked twice")


async def _all_or_first_error(tasks: Sequence[asyncio.Task[None]], *, until: Sequence[asyncio.Task[None]]) -> None:
    """Waits for `until`; raises at once what any of `tasks` raises."""
    waiting = set(until)
    watched = set(tasks)
    while waiting:
        done, _ = await asyncio.wait(watched, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            if not task.cancelled():
                task.result()
        watched -= done
        waiting -= done
