"""One teacher's lane: its queue, its limits, and what it does about faults."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial

from qrdistill.base.errors import TeacherError
from qrdistill.llm.batch.batches import Batches
from qrdistill.llm.client import OPENAI_URL, ChatClient, ChatConfig, Mended, Refused, Transient, prompt_estimate
from qrdistill.llm.config import OpenAITeacher
from qrdistill.llm.pace.endpoints import LONGEST_PAUSE, Endpoint, Endpoints
from qrdistill.llm.pace.limits import Bucket, Gate, Stop
from qrdistill.llm.reply_cache import ChatRequest, Failed, Reply

Outcome = Reply | Failed | None  # None: not asked to the end, because the run was stopped

FIRST_WAIT, LONGEST_WAIT = 0.5, 60.0  # seconds of backoff
_WORKERS = 2.0  # times as many as requests in flight
_BUSY_ATTEMPTS = 5  # times max_attempts: being told to wait is no fault of the request
_REFUSALS_IN_A_ROW = 5  # 403 or 404 without any reply before: no request can succeed
LONG_WAIT = 5.0  # seconds; a wait that is worth a line
_ENOUGH_REPLIES = 8  # to estimate the next one's tokens from
_AUTHENTICATION = frozenset({401, 403, 404})


class _Moved(Transient):
    """A fault of one address: the request goes to another one at once. `free`: it cost nothing, and is no attempt."""

    def __init__(self, fault: Transient | Refused) -> None:
        super().__init__(fault.reason, status=fault.status, wasted=fault.wasted)
        self.free = isinstance(fault, Refused) or fault.unreachable


class Lane:
    """`ask` turns one request into a reply or a reason, whatever the server does in between."""

    def __init__(
        self,
        config: ChatConfig,
        make_client: Callable[[ChatConfig], ChatClient],
        *,
        stop: Stop,
        may_buy: Callable[[], Awaitable[bool]],
        waste: Callable[[str, ChatRequest, Reply], None],
        say: Callable[[str], None] = lambda message: None,
        num_known: int | None = None,
    ) -> None:
        self.config, self.name, self._waste, self._may_buy = config, config.name, waste, may_buy
        self._say, self._said_until = say, 0.0
        self.has_replies = False  # or had, in the cache
        self._stop = stop
        if isinstance(config, OpenAITeacher):
            most, self._attempts = config.concurrency, config.max_attempts
            rates = config.requests_per_minute, config.tokens_per_minute
            made = [(url or OPENAI_URL, config.model_copy(update={"base_url": url})) for url in config.addresses]
        else:
            most, self._attempts, rates = 2 * config.batch_size, 1, (None, None)
            made = [(config.model, config)]
        gates = partial(Gate, most, fixed=not isinstance(config, OpenAITeacher))
        addresses = [Endpoint(url, partial(make_client, at), gates()) for url, at in made]
        self.endpoints = Endpoints(addresses, stop, lambda message: say(f"teacher {config.name!r}: {message}"))
        self.concurrency = most * len(addresses)
        # more than may be in flight: while some wait until their replies are on the disk, others ask
        workers = round(_WORKERS * self.concurrency)
        self.workers = min(workers, num_known) if num_known else workers  # no idle ones
        self.in_batches = isinstance(config, OpenAITeacher) and config.batch
        if self.in_batches:
            self.workers = 1  # who gathers them into files
        self._requests, self._tokens = Bucket(rates[0], stop), Bucket(rates[1], stop)
        self.starved = False  # nothing more will be offered before something open has ended
        self.batches: Batches | None = None  # where some are open, or are to be made
        self.ended = asyncio.Event()  # nothing more will be offered, and nothing is open
        self._queue: asyncio.Queue[ChatRequest | None] = asyncio.Queue(self.workers)
        self._again: deque[ChatRequest] = deque()
        self.open = 0  # offered and not yet settled
        self._jitter = random.Random(os.getpid())  # shapes waits only, never results
        self._replies = self._written = 0  # replies, and their completion tokens
        self._refusals = 0  # in a row
        self._rejected = 0  # of any other kind than a key or model that is not there
        self._last_refusal = ""
        self._exhausted = 0  # requests in a row that failed although they were retried

    # --- queue --------------------------------------------------------------------------------------

    async def offer(self, request: ChatRequest) -> None:
        self.open += 1
        await self._queue.put(request)

    async def next(self) -> ChatRequest | None:
        return await self._queue.get()

    @property
    def all_taken(self) -> bool:
        return self._queue.empty()

    async def no_more(self) -> None:
        self.ended.set()
        for _ in range(self.workers):
            await self._queue.put(None)

    def waits_for(self, request: ChatRequest) -> bool:
        """Whether a batch under way holds it: it is then open, and not offered."""
        held = self.batches is not None and self.batches.holds(request)
        self.open += held
        return held

    def settled(self) -> None:
        self.open -= 1

    def again(self, request: ChatRequest) -> None:
        """A request that a reply made necessary: the longer version of a truncated one."""
        self._again.append(request)

    def take_again(self, most: int) -> list[ChatRequest]:
        return [self._again.popleft() for _ in range(min(most, len(self._again)))]

    async def close(self) -> None:
        await self.endpoints.close()
        if self.batches:
            await self.batches.close()

    # --- asking -------------------------------------------------------------------------------------

    async def ask(self, request: ChatRequest) -> Outcome:
        """Every attempt is a purchase: `may_buy` is asked before each, and `waste` told of what one cost for nothing."""
        attempts, busy = 0, 0
        while True:
            attempts += 1
            try:
                reply = await self._once(request)
            except Mended as mend:
                attempts -= 1
                if mend.note:
                    self._say(mend.note)
            except Refused as refusal:
                self._count_wasted(request, refusal.wasted)
                self._refused(refusal)
                return Failed(refusal.reason, refusal.status, attempts)
            except Transient as fault:
                self._count_wasted(request, fault.wasted)
                moved = isinstance(fault, _Moved)
                if fault.daily and not moved:
                    self._stop.now(
                        TeacherError(
                            f"teacher {self.name!r} has used up a quota that is renewed once a day ({fault.reason}); "
                            "wait for that, or raise it at the provider"
                        )
                    )
                    return None
                attempts -= moved and fault.free
                busy += fault.status == 429
                if attempts - busy >= self._attempts or busy >= _BUSY_ATTEMPTS * self._attempts:
                    self._gave_up(fault)
                    return Failed(fault.reason, fault.status, attempts)
                if not moved:
                    await self._back_off(fault, attempts)
            else:
                if reply is not None:
                    self._replies += 1
                    self._written += reply.completion_tokens
                    self._refusals = self._exhausted = 0
                return reply
            if not await self._may_buy():
                return None

    def _count_wasted(self, request: ChatRequest, reply: Reply | None) -> None:
        if reply is not None and (reply.cost or reply.prompt_tokens or reply.completion_tokens):
            self._waste(self.name, request, reply)

    async def _once(self, request: ChatRequest) -> Reply | None:
        await self._clear_doubt()
        if not await self._may_buy():
            return None
        estimate = self._estimate(request) if self._tokens.limited else 0
        self.endpoints.prepare()  # first: loading a model takes long, and the buckets would fill meanwhile
        await self._requests.take(1)
        await self._tokens.take(estimate)
        entered = await self.endpoints.enter()
        if entered is None:
            self._tokens.give_back(estimate)
            return None
        endpoint, used, seconds = entered[0], 0, None
        try:
            if not await self._may_buy():  # looked at again: the waits above are long
                return None
            begun = time.monotonic()
            reply = await endpoint.client.complete(request)
            used, seconds = reply.prompt_tokens + reply.completion_tokens, time.monotonic() - begun
            return reply
        except (Transient, Refused) as fault:
            self._hold_back(endpoint, fault)
            if self.endpoints.elsewhere(endpoint, fault):
                raise _Moved(fault) from None
            raise
        finally:
            self._tokens.give_back(estimate - used)
            self.endpoints.leave(entered, seconds=seconds)

    def _estimate(self, request: ChatRequest) -> float:
        """Tokens that a request will use: its max_tokens until replies tell better."""
        output = request.limit
        if self._replies >= _ENOUGH_REPLIES:
            output = min(output, 1.2 * self._written / self._replies)
        return prompt_estimate(request) + output

    def _hold_back(self, endpoint: Endpoint, fault: Transient | Refused) -> None:
        """A 429 or a Retry-After holds back everything that would go to that address."""
        if isinstance(fault, Transient) and (fault.status == 429 or fault.retry_after is not None):
            wait = self._jitter.uniform(0, FIRST_WAIT) if fault.retry_after is None else fault.retry_after
            endpoint.gate.close_for(min(wait, LONGEST_PAUSE))

    async def _back_off(self, fault: Transient, attempts: int) -> None:
        """Full jitter below an exponential bound."""
        bound = min(LONGEST_WAIT, FIRST_WAIT * 2 ** (attempts - 1))
        wait = self._jitter.uniform(0, bound)
        if fault.retry_after is not None:
            if fault.retry_after > LONGEST_PAUSE:
                self._stop.now(
                    TeacherError(
                        f"teacher {self.name!r} asks to wait {fault.retry_after / 3600:.1f} hours ({fault.reason})"
                    )
                )
                return
            wait = fault.retry_after + self._jitter.uniform(0, 0.1 * fault.retry_after)
        if wait >= LONG_WAIT and fault.retry_after is not None and time.monotonic() >= self._said_until:
            self._said_until = time.monotonic() + wait
            self._say(f"teacher {self.name!r} asks to wait {wait:.0f} s ({fault.reason})")
        await self._stop.sleep(wait)

    # --- when nothing can succeed -------------------------------------------------------------------

    def _refused(self, refusal: Refused) -> None:
        self._exhausted = 0
        self._refusals += refusal.status in _AUTHENTICATION
        self._rejected += refusal.status not in _AUTHENTICATION
        hopeless = refusal.status == 401 or self._refusals >= _REFUSALS_IN_A_ROW
        self._last_refusal = refusal.reason
        if refusal.everything or (hopeless and not self._replies) or self._refusals >= 4 * _REFUSALS_IN_A_ROW:
            self._refuses_everything("check its api_key_env, model and base_url")

    def _refuses_everything(self, mend: str) -> None:
        self._stop.now(TeacherError(f"teacher {self.name!r} refuses every request ({self._last_refusal}); {mend}"))

    @property
    def _in_doubt(self) -> bool:
        """Whether it has refused a few requests for what is in them, and answered none."""
        return self._rejected >= _REFUSALS_IN_A_ROW and not (self._replies or self.has_replies)

    async def _clear_doubt(self) -> None:
        """Waits for what is in flight, because refusals come sooner than replies; stops where none was a reply."""
        while self._in_doubt and self.endpoints.in_flight and not self._stop:
            await self._stop.sleep(0.02)
        if self._in_doubt and not self._stop:
            self._refuses_everything("set what it asks for; extra_body: {field: null} leaves a field out")

    def _gave_up(self, fault: Transient) -> None:
        self._exhausted += 1
        if fault.unreachable and not self._replies:
            where = getattr(self.config, "base_url", None) or "the API"
            self._stop.now(
                TeacherError(
                    f"teacher {self.name!r} cannot be reached at {where} ({fault.reason}); is the server running?"
                )
            )
        elif self._exhausted >= max(10, 2 * self.concurrency):
            self._stop.now(
                TeacherError(
                    f"teacher {self.name!r} has answered nothing for {self._exhausted} requests in a row, each "
                    f"tried {self._attempts} times (last: {fault.reason}); try again later"
                )
            )
