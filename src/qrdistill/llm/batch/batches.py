"""One teacher's batches: gathered into files, submitted, waited for and taken, over any number of processes' lives.

The order of every step is: write down what will be done, do it, write down what came of it. So whoever starts after a
kill finds the batch: not sent yet (it is sent now), sent with its answer lost (it is found at the server by the token
in its metadata), or under way (it is waited for). Results are committed line by line, in any order; a request without
one leaves the batch and is asked again, which is all that is submitted twice.
"""

from __future__ import annotations

import asyncio
import hashlib
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import IO, Any

from qrdistill.base.errors import BudgetError, TeacherError
from qrdistill.llm.batch.api import HASH, TOKEN, BatchApi, counts_of, problem_of
from qrdistill.llm.batch.desk import Desk, Outcome
from qrdistill.llm.batch.lines import as_text, from_text, line, outcome, results
from qrdistill.llm.batch.records import BatchRow
from qrdistill.llm.client import Refused, Transient
from qrdistill.llm.config import OpenAITeacher
from qrdistill.llm.openai_client import ReplyReader, mends_of
from qrdistill.llm.reply_cache import ChatRequest, Failed, Reply

FIRST_POLL, LONGEST_POLL = 5.0, 60.0  # seconds
IDLE = 1.0  # seconds without a request, and none on its way, after which a file is sent as it is
_FILE_BYTES = 100 << 20  # of one file; providers take 200 MB
_MOST_OPEN, _SHOWN = 50, 3  # batches
_ATTEMPTS = 30  # polls (or submissions) in a row that may fail: about half an hour
_HOPELESS = 5  # requests of a batch of which none was answered: none will be
_TOGETHER = 256  # lines that are committed at once
ENDED = frozenset({"completed", "failed", "expired", "cancelled"})
_QUEUE_FULL = "token_limit_exceeded"  # the provider has enough of ours waiting


class Batches:
    def __init__(self, config: OpenAITeacher, *, host: str, desk: Desk) -> None:
        self._config, self._host, self._desk = config.in_batches, host, desk
        self._reader, self._mends = ReplyReader(self._config), mends_of(config)
        self._open: dict[str, BatchRow] = {}
        self._reserved: dict[str, Reply] = {}
        self._wanted: dict[str, str] = {}  # key of a request that this run waits for: its batch's token
        self._taking: set[str] = set()  # tokens of batches whose results are being committed
        self._members: dict[str, set[str]] = {}
        self._attempts: Counter[str] = Counter()
        self._ended = asyncio.Event()  # one of them has ended since it was cleared
        self._per_file = config.batch_requests
        self._held: ChatRequest | None = None  # taken from the queue, and not in a file yet
        self._seen_end = self._answered = False
        self._last_reason = ""  # why a request got no reply

    @cached_property
    def _api(self) -> BatchApi:
        return BatchApi(self._config, self._reader)

    async def close(self) -> None:
        if "_api" in vars(self):
            await self._api.close()

    def __str__(self) -> str:
        rows = [f"{self._config.name} {row}" for row in self._open.values()]
        more = [f"{len(rows) - _SHOWN} more"] if len(rows) > _SHOWN else []
        return ", ".join([*rows[:_SHOWN], *more])

    async def adopt(self) -> int:
        """Takes over the batches of this model that nobody alive watches; returns how many."""
        model = self._config.model
        rows = [row for row in self._desk.cache.batches(opened=True) if (row.host, row.model) == (self._host, model)]
        mine = await self._desk.write(self._desk.cache.claim, [row.claim for row in rows]) if rows else set()
        for row in rows:
            if row.claim in mine and row.state == "intended" and not self._config.batch:
                await self._desk.write(self._desk.cache.keep_batch, replace(row, state="never sent", ended=time.time()))
            elif row.claim in mine:
                requests = [from_text(text) for _, text in self._desk.cache.members(row.token)]
                self._register(row, requests)
                self._desk.log(f"teacher {self._config.name!r}: found {row}")
        return len(self._open)

    def _register(self, row: BatchRow, requests: Sequence[ChatRequest], *, reserve: bool = True) -> None:
        self._open[row.token] = row
        self._members[row.token] = {request.key for request in requests}
        self._reserved[row.token] = most = self._most(requests)
        if reserve:
            self._desk.budget.reserve(most)

    def _most(self, requests: Sequence[ChatRequest]) -> Reply:
        """What they cost together at most."""
        each = [self._reader.most(request) for request in requests]
        return Reply(
            "",
            prompt_tokens=sum(one.prompt_tokens for one in each),
            completion_tokens=sum(one.completion_tokens for one in each),
            cost=sum(one.cost for one in each),
        )

    def holds(self, request: ChatRequest) -> bool:
        """Whether it is in a batch that is watched here; its outcome is then booked when that ends."""
        token = next((token for token, keys in self._members.items() if request.key in keys), None)
        if token is not None:
            self._wanted[request.key] = token
        return token is not None

    # --- gathering and submitting -------------------------------------------------------------------

    async def run(self, *, gather: bool, ended: asyncio.Event) -> None:
        """Watches what is open, and with `gather` submits what is asked; until nothing is asked or open any more."""
        try:
            async with asyncio.TaskGroup() as group:
                watching = {row.token: group.create_task(self._watch(row)) for row in list(self._open.values())}
                while gather and (requests := await self._gather()):
                    row = await self._intend(requests)
                    watching[row.token] = group.create_task(self._watch(row))
                await ended.wait()
                for token in set(self._open) - self._taking:  # what nobody here waits for can be taken another time
                    watching[token].cancel()
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None
        finally:
            if self._open:
                waiting = sum(row.total for row in self._open.values())
                self._desk.log(
                    f"teacher {self._config.name!r}: {len(self._open)} batches of {waiting} requests stay open; the "
                    "same command goes on with them"
                )

    async def _gather(self) -> list[ChatRequest]:
        """The next file's requests, their cost reserved; empty: there are no more, or the run is stopped."""
        requests, size = list[ChatRequest](), 0
        while len(requests) < self._per_file and size < _FILE_BYTES:
            request = await self._next(IDLE if requests else None)
            if request is None:
                break
            most = self._reader.most(request)
            self._ended.clear()
            if not self._desk.budget.has_room_for(most) or (not requests and len(self._open) >= _MOST_OPEN):
                self._held = request
                if requests or not await self._room(most):
                    break
                continue
            self._desk.budget.reserve(most)
            requests.append(request)
            size += len(line(request, self._mends))
        if not self._desk.stop:
            return requests
        unsent = [*requests, *([self._held] if self._held else [])]
        self._held = None
        while request := await self._next(None):  # who offers must not wait for ever
            unsent.append(request)
        await self._desk.write(self._desk.cache.release, [request.key for request in unsent])
        return []

    async def _next(self, wait: float | None) -> ChatRequest | None:
        """None: nothing came for so long and nothing is on its way, or nothing will come any more."""
        held, self._held = self._held, None
        if held is not None or self._seen_end:
            return held
        while True:
            try:
                async with asyncio.timeout(wait):
                    request = await self._desk.next()
            except TimeoutError:
                if self._desk.starved():
                    return None
            else:
                self._seen_end = request is None
                return request

    async def _room(self, most: Reply) -> bool:
        """Waits until a batch has ended and left something over; False: the run ends for want of money."""
        if not self._open:
            budget = self._desk.budget
            spent = budget.exceeded() or f"${budget.spent_usd:.4f} ({budget.spent_tokens} tokens) are spent"
            self._desk.stop.now(
                BudgetError(f"{spent}, and a further request can cost up to ${most.cost:.4f}, more than is left")
            )
        while self._open and not self._desk.stop and not self._ended.is_set():
            await self._desk.stop.sleep(min(0.2, FIRST_POLL))
        return not self._desk.stop

    async def _intend(self, requests: Sequence[ChatRequest]) -> BatchRow:
        content = b"".join(line(request, self._mends) for request in requests)
        row = BatchRow(
            token=uuid.uuid4().hex,
            host=self._host,
            model=self._config.model,
            teacher=self._config.name,
            file_hash=hashlib.sha256(content).hexdigest(),
            total=len(requests),
            created=time.time(),
        )
        await self._desk.write(self._desk.cache.claim, [row.claim])
        members = [(request.key, as_text(request)) for request in requests]
        await self._desk.write(self._desk.cache.begin_batch, row, members)
        self._register(row, requests, reserve=False)
        for request in requests:
            self._wanted[request.key] = row.token
        return row

    async def _keep(self, row: BatchRow, **changes: Any) -> BatchRow:
        row = replace(row, **changes)
        await self._desk.write(self._desk.cache.keep_batch, row)
        self._open[row.token] = row
        return row

    # --- one batch ----------------------------------------------------------------------------------

    async def _watch(self, row: BatchRow) -> None:
        found = await self._patiently(lambda: self._sent(self._open[row.token]))
        if found is None:
            return
        row, wait = self._open[row.token], FIRST_POLL
        while (state := str(found.get("status"))) not in ENDED:
            counts = counts_of(found)
            if (state, *counts) != (row.state, row.done, row.failed):
                if state != row.state:
                    self._desk.log(f"teacher {self._config.name!r}: batch {row.batch_id} is {state}, {row.age:.0f} s")
                row = await self._keep(row, state=state, done=counts[0], failed=counts[1])
            self._desk.shown()
            await self._desk.stop.sleep(wait)
            wait = min(LONGEST_POLL, 1.5 * wait)
            batch_id = str(row.batch_id)
            found = await self._patiently(lambda: self._api.retrieve(batch_id))  # noqa: B023 - awaited here
            if found is None:
                return
        await self._take(row, state, found)

    async def _patiently(self, work: Callable[[], Awaitable[Any]]) -> Any:
        """Repeats what fails for a passing reason; None: the run is stopped."""
        wait, reason = FIRST_POLL, ""
        for attempt in range(1, _ATTEMPTS + 1):
            if self._desk.stop:
                return None
            try:
                return await work()
            except Transient as fault:
                reason = fault.reason
                if attempt == 1:
                    self._desk.log(f"teacher {self._config.name!r}: {reason}; tried again in a while")
                await self._desk.stop.sleep(max(wait, min(fault.retry_after or 0.0, LONGEST_POLL)))
                wait = min(LONGEST_POLL, 1.5 * wait)
            except Refused as refusal:
                raise TeacherError(
                    f"teacher {self._config.name!r}: its batch API refuses ({refusal.reason}); check key, model and "
                    "base_url, then run the same command again (`qrdistill cache prune --batches` gives open ones up)"
                ) from None
        raise TeacherError(
            f"teacher {self._config.name!r}: its batch API has not answered {_ATTEMPTS} times in a row (last: "
            f"{reason}); run the same command again to go on"
        )

    async def _sent(self, row: BatchRow) -> dict[str, Any]:
        """The batch as the server has it, made now unless it was. May be repeated after any fault or kill."""
        if row.batch_id is not None:
            return await self._api.retrieve(row.batch_id)
        found: dict[str, Any] | None = None
        if row.state == "sending":
            found = await self._api.find(row.token, row.file_id, row.created)
        if found is None:
            if row.file_id is None:
                content = b"".join(
                    line(from_text(text), self._mends) for _, text in self._desk.cache.members(row.token)
                )
                row = await self._keep(row, file_hash=hashlib.sha256(content).hexdigest())
                file_id = await self._api.upload(f"qrdistill-{row.token}.jsonl", content)
                row = await self._keep(row, file_id=file_id)
            row = await self._keep(row, state="sending")
            found = await self._api.create(str(row.file_id), {TOKEN: row.token, HASH: row.file_hash})
        row = await self._keep(
            row, batch_id=found["id"], state=str(found.get("status")), submitted=row.submitted or time.time()
        )
        self._desk.log(f"teacher {self._config.name!r}: batch {row.batch_id} of {row.total} requests is {row.state}")
        return found

    async def _take(self, row: BatchRow, state: str, found: Mapping[str, Any]) -> None:
        """Commits what it brought, and lets go of what it did not."""
        self._taking.add(row.token)
        left = {key: from_text(text) for key, text in self._desk.cache.members(row.token)}
        answered, mends = 0, len(self._mends)
        for name in ("output_file_id", "error_file_id"):
            file_id = found.get(name)
            if isinstance(file_id, str) and file_id:
                replies = await self._settle_file(row, file_id, left)
                if replies is None:
                    return
                answered += replies
        problem = problem_of(found) if state == "failed" else ""
        reason = f"its batch {row.batch_id} {problem or f'is {state} and holds no answer to it'}"
        keys = list(left)
        for start in range(0, len(keys), _TOGETHER):
            part = [left.pop(key) for key in keys[start : start + _TOGETHER]]
            await self._settle(
                row, [(request, Transient(self._reader.shown(reason))) for request in part], free=bool(problem)
            )
        counts = counts_of(found)
        row = await self._keep(row, state=state, done=counts[0] or answered, failed=counts[1], ended=time.time())
        self._close(row)
        self._desk.log(
            f"teacher {self._config.name!r}: batch {row.batch_id} {state} after {row.age:.0f} s: {answered} of "
            f"{row.total} answered{f' ({problem})' if problem else ''}"
        )
        if _QUEUE_FULL in problem:  # less at once, and only when some of it has been done
            self._per_file = max(1, row.total // 2)
            await self._desk.stop.sleep(LONGEST_POLL)
        elif len(self._mends) > mends:
            fields = ", ".join(self._mends)
            self._desk.log(f"teacher {self._config.name!r}: its model does not take {fields}: sent again without")
        elif problem or (state == "completed" and row.total >= _HOPELESS and not self._answered):
            self._desk.stop.now(
                TeacherError(
                    f"teacher {self._config.name!r} has answered nothing in a batch of {row.total} "
                    f"({self._reader.shown(self._last_reason)}); check its model and extra_body"
                )
            )

    def _close(self, row: BatchRow) -> None:
        del self._open[row.token], self._members[row.token]
        self._desk.budget.free(self._reserved.pop(row.token))
        self._ended.set()
        self._desk.shown()

    async def _download(self, file_id: str, file: IO[bytes]) -> bool:
        file.seek(0)
        file.truncate()
        await self._api.download(file_id, file)
        file.seek(0)
        return True

    async def _settle_file(self, row: BatchRow, file_id: str, left: dict[str, ChatRequest]) -> int | None:
        """Commits the lines of requests in `left`, which leave it; returns how many are replies, None when stopped."""
        with tempfile.TemporaryFile(dir=self._desk.cache.path.parent) as file:
            if not await self._patiently(lambda: self._download(file_id, file)):
                return None
            return await self._settle_lines(row, file, left)

    async def _settle_lines(self, row: BatchRow, file: IO[bytes], left: dict[str, ChatRequest]) -> int:
        answered, group = 0, list[tuple[ChatRequest, Reply | Transient | Refused]]()
        for key, found in results(file):
            request = left.pop(key, None)  # not one of ours, or said twice: left out
            if request is None:
                continue
            try:
                said: Reply | Transient | Refused = outcome(request, found, self._reader, self._mends)
                answered += 1
            except (Transient, Refused) as fault:
                said = fault
            group.append((request, said))
            if len(group) == _TOGETHER:
                await self._settle(row, group)
                group = []
        await self._settle(row, group)
        return answered

    async def _settle(
        self, row: BatchRow, group: Sequence[tuple[ChatRequest, Reply | Transient | Refused]], *, free: bool = False
    ) -> None:
        """One transaction: replies and lasting failures are kept, all of them leave the batch."""
        outcomes: list[tuple[ChatRequest, Outcome]] = []
        wasted: list[tuple[str, Reply]] = []
        again: list[ChatRequest] = []
        for request, said in group:
            if isinstance(said, Reply):
                outcomes.append((request, said))
                self._desk.budget.spend(said)
                self._answered = True
                continue
            self._attempts[request.key] += not free
            self._last_reason = said.reason
            if said.wasted is not None and (said.wasted.cost or said.wasted.completion_tokens):
                wasted.append((request.key, said.wasted))
                self._desk.budget.spend(said.wasted)
            attempts = self._attempts[request.key]
            if isinstance(said, Refused) or attempts >= self._config.max_attempts:
                outcomes.append((request, Failed(said.reason, said.status, attempts)))
            else:
                again.append(request)
            if isinstance(said, Refused) and said.everything:
                self._desk.stop.now(TeacherError(f"teacher {self._config.name!r} refuses everything ({said.reason})"))
        leave = [request.key for request, _ in group]
        await self._desk.write(lambda: self._desk.cache.settle(outcomes, wasted, leave=leave))
        self._members[row.token].difference_update(leave)
        for request, said in outcomes:
            if self._wanted.pop(request.key, None):
                self._desk.book(request, said)
        for request in again:
            if self._wanted.pop(request.key, None):
                self._desk.again(request)
