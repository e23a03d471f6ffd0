"""The contract of every teacher. One that has its paths at hand repeats itself and tells what it lacks; one that is
asked answers each request with its own reply, or says why not, and nothing else."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fault_server import BY_NAME, KINDS, FaultServer

from qrdistill.base.errors import QRDistillError
from qrdistill.base.plugins import registry
from qrdistill.base.progress import Silent
from qrdistill.base.records import Question
from qrdistill.lab.config import LabTeacher
from qrdistill.lab.questions import load
from qrdistill.llm.client import ChatClient, Refused, Requests, Transient, make_client
from qrdistill.llm.config import OpenAITeacher, TransformersTeacher
from qrdistill.llm.reply_cache import ChatRequest, Reply
from qrdistill.paths.config import ReplayTeacher
from qrdistill.paths.styles import FACTS, VANILLA
from qrdistill.paths.teachers import CountsSamples, PathTeacher, ReportsProblems, make_path_teacher
from qrdistill.questions.config import QuestionsConfig

QUESTIONS = list(load(QuestionsConfig(train=4, dev=0, test=0), seed=0, base_dir=Path()))
STYLES = (VANILLA, FACTS)


def replay(folder: Path) -> ReplayTeacher:
    """Two samples in one style of the first question, one of the second, one of a question that is not asked."""
    rows = [(QUESTIONS[0].id, "vanilla"), (QUESTIONS[0].id, "vanilla"), (QUESTIONS[1].id, "facts"), ("else", "facts")]
    lines = [
        json.dumps({"question_id": q, "style": s, "text": f"Path {n}.\nThe answer is {n}."})
        for n, (q, s) in enumerate(rows)
    ]
    (folder / "paths.jsonl").write_text("\n".join(lines))
    return ReplayTeacher(kind="replay", name="file", file="paths.jsonl")


PATH_TEACHERS: dict[str, Callable[[Path], Any]] = {"lab": lambda folder: LabTeacher(coverage=0.6), "replay": replay}


@pytest.mark.parametrize("kind", PATH_TEACHERS)
class TestEveryPathTeacher:
    @pytest.fixture
    def make(self, kind: str, tmp_path: Path) -> Callable[[], PathTeacher]:
        config = PATH_TEACHERS[kind](tmp_path)
        return lambda: make_path_teacher(config, base_dir=tmp_path, seed=3, questions=QUESTIONS)

    def asked(self) -> list[tuple[Question, Any, int]]:
        return [(question, style, sample) for question in QUESTIONS for style in STYLES for sample in range(3)]

    def test_drafts_are_whole(self, make: Callable[[], PathTeacher]) -> None:
        drafts = [make().path(*one) for one in self.asked()]
        found = [draft for draft in drafts if draft is not None]
        assert found
        assert len(found) < len(drafts), "both have gaps, and a gap is no failure"
        for draft in found:
            assert draft.text.strip()
            assert draft.finish_reason in ("stop", "length")
            assert min(draft.prompt_tokens, draft.completion_tokens, draft.cost) >= 0
            assert draft.truth is None or draft.truth[0] in ("sound", "wrong", "spurious")

    def test_a_path_depends_on_nothing_that_was_asked_before(self, make: Callable[[], PathTeacher]) -> None:
        first, second = make(), make()
        forward = [first.path(*one) for one in self.asked()]
        assert forward == [second.path(*one) for one in reversed(self.asked())][::-1]
        assert forward == [first.path(*one) for one in self.asked()]

    def test_it_has_the_samples_that_it_counts(self, make: Callable[[], PathTeacher]) -> None:
        teacher = make()
        if not isinstance(teacher, CountsSamples):  # then it writes as many as it is asked for, or none
            written = {
                (teacher.path(q, style, 0) is None, teacher.path(q, style, 7) is None) for q, style, _ in self.asked()
            }
            assert written <= {(True, True), (False, False)}
            assert (False, False) in written
            return
        counts = {(q.id, style.name): teacher.samples(q, style) for q in QUESTIONS for style in STYLES}
        assert sum(counts.values()) > 0
        for question, style, sample in self.asked():
            assert (teacher.path(question, style, sample) is not None) == (sample < counts[question.id, style.name])

    def test_it_reports_by_warnings_and_changes_nothing(self, make: Callable[[], PathTeacher]) -> None:
        teacher, told = make(), Silent()
        before = [teacher.path(*one) for one in self.asked()]
        if not isinstance(teacher, ReportsProblems):
            assert not hasattr(teacher, "report")
            return
        teacher.report(told)
        assert len(told.warnings) == 1
        assert "1 of its paths" in told.warnings[0]
        assert [teacher.path(*one) for one in self.asked()] == before


def say(body: dict[str, Any]) -> str:
    return f"You said: {body['messages'][-1]['content']}"


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer(text=say, fault=lambda body, sight: "length" if body["max_tokens"] == 1 else None) as server:
        yield server


def openai_at(url: str, **changes: Any) -> OpenAITeacher:
    settings = {"kind": "openai", "name": "t", "model": "m", "base_url": url, "max_tokens": 8, "temperature": 0.0}
    return OpenAITeacher.model_validate(settings | changes)


CLIENTS = ("openai", "transformers")


def test_every_teacher_has_a_contract() -> None:
    assert {*PATH_TEACHERS, *CLIENTS} == set(registry.bundled("teachers"))


async def complete(client: ChatClient, requests: list[ChatRequest]) -> list[Reply]:
    try:
        return list(await asyncio.gather(*(client.complete(request) for request in requests)))
    finally:
        await client.close()


@pytest.mark.parametrize("kind", CLIENTS)
class TestEveryChatClient:
    @pytest.fixture
    def config(self, kind: str, server: FaultServer, tiny_student_folder: Callable[..., Path]) -> Any:
        if kind == "openai":
            return openai_at(server.url)
        folder = str(tiny_student_folder("mistral"))
        settings = {"max_tokens": 8, "temperature": 0.0, "batch_size": 3, "device": "cpu"}
        return TransformersTeacher(kind="transformers", name="t", model=folder, **settings)

    def requests(self, config: Any, texts: list[str], **settings: Any) -> list[ChatRequest]:
        ask = Requests(config, base_dir=Path())
        return [ask([("system", "Be brief."), ("user", text)], **settings) for text in texts]

    def test_each_request_gets_its_own_reply_whoever_waits_beside_it(self, config: Any) -> None:
        texts = ["one apple", "a much longer question about two apples and a dog", "three", "4 + 4 = ?"]
        together = asyncio.run(complete(make_client(config, base_dir=Path()), self.requests(config, texts)))
        alone = [
            asyncio.run(complete(make_client(config, base_dir=Path()), self.requests(config, [t])))[0] for t in texts
        ]
        assert [reply.text for reply in together] == [reply.text for reply in alone]
        assert len({reply.text for reply in together}) > 1

    def test_a_reply_says_how_it_ended_and_what_it_took(self, config: Any) -> None:
        client = make_client(config, base_dir=Path())
        whole, cut = asyncio.run(
            complete(client, self.requests(config, ["hello"]) + self.requests(config, ["hello"], max_tokens=1))
        )
        assert whole.finish_reason in ("stop", "length")
        assert cut.finish_reason == "length"
        for reply in (whole, cut):
            assert min(reply.prompt_tokens, reply.completion_tokens) > 0
            assert min(reply.cost, reply.latency) >= 0
            assert isinstance(json.loads(reply.response), dict)

    def test_it_closes_twice_and_without_a_request(self, config: Any) -> None:
        async def close() -> None:
            client = make_client(config, base_dir=Path())
            await client.close()
            await client.close()

        asyncio.run(close())


ANSWERED = ("many", "length", "filtered")  # replies all the same


@pytest.mark.parametrize("fault", [fault for fault in (*KINDS, *BY_NAME) if fault not in ("late", "drip")])
def test_a_failure_is_transient_or_refused_and_holds_no_key(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONTRACT_KEY", "sk-contract-0123456789")
    with FaultServer(text=say, fault=lambda body, sight: fault) as server:
        config = openai_at(server.url, api_key_env="CONTRACT_KEY")
        request = Requests(config, base_dir=Path())([("user", "hello")])
        if fault in ANSWERED:
            [reply] = asyncio.run(complete(make_client(config, base_dir=Path()), [request]))
            assert "0123456789" not in reply.response
            return
        with pytest.raises((Transient, Refused)) as caught:
            asyncio.run(complete(make_client(config, base_dir=Path()), [request]))
    assert caught.value.reason.strip()
    assert "\n" not in caught.value.reason
    assert "0123456789" not in caught.value.reason


@pytest.mark.parametrize("kind", CLIENTS)
def test_nobody_there_is_said_in_time(kind: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    local = TransformersTeacher(kind="transformers", name="t", model="empty", device="cpu")
    config = openai_at("http://127.0.0.1:9/v1", timeout=5) if kind == "openai" else local
    ask = Requests(config, base_dir=tmp_path)
    with pytest.raises((Transient, Refused, QRDistillError)) as caught:
        asyncio.run(complete(make_client(config, base_dir=tmp_path), [ask([("user", "hello")])]))
    assert getattr(caught.value, "unreachable", False) == (kind == "openai")
