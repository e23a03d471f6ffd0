from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from qrdistill.base.plugins.kinds import Kinds
from qrdistill.base.settings import Settings, ShapesNothing
from qrdistill.llm.config import no_key_in_the_address, no_key_in_the_body, variable_name


class EngineConfig(Settings):
    """What writes the completions; a name alone stands for its section."""

    kind: str = "local"
    """`local` (this package's decoder, bit for bit), `openai` (any OpenAI-compatible server), `vllm` (in this process),
    a registered name or `module:function`."""

    def shaping(self) -> dict[str, Any]:
        """The keys that shape what is written, as plain data."""
        nothing = {key for key in type(self).model_fields if self.shapes_nothing(key)}
        return self.model_dump(mode="json", exclude=nothing)


class CheckedEngine(EngineConfig):
    """An engine with weights of its own, which are compared with the trained student's before they are used."""

    check: ShapesNothing[bool] = True
    """Compare the engine's weights with the trained student's whenever it is opened; false: nothing is compared, and
    every run warns of it."""
    tolerance: ShapesNothing[float | None] = Field(default=None, gt=0)
    """Nats per token by which its log-probabilities may differ from the trained student's, in the mean; null: twice
    what bfloat16 does to the student's own (0.05 where its weights are in half precision or four bits)."""


class ServerEngine(CheckedEngine):
    """Any OpenAI-compatible server with `/completions`: vLLM, SGLang, llama.cpp, `transformers serve`."""

    kind: str = "openai"
    """`openai`: any server that speaks OpenAI's completions."""
    base_url: ShapesNothing[str]
    """The server's address, such as http://localhost:8000/v1."""
    api_key_env: ShapesNothing[str | None] = None
    """The NAME of the environment variable that holds the key; keys never stand in a config."""
    reload: ShapesNothing[Literal["path", "lora", "none"]] = "path"
    """How new weights get there: `path`: the student is written to a folder, whose path each request gives as the
    model; `lora`: its adapter is loaded by `/load_lora_adapter`; `none`: the server has them already."""
    model: str | None = None
    """With `reload: none` the student's name at the server, `{student}` standing for its name here (null: that name);
    with `lora` the base's, which answers for the untrained student."""
    export_to: ShapesNothing[str | None] = None
    """With `reload: path`: the folder that this machine and the server both see; null: a temporary folder here."""
    concurrency: ShapesNothing[int] = Field(default=16, gt=0)
    """Requests under way at once, at most."""
    timeout: ShapesNothing[float] = Field(default=300.0, gt=0)
    """Seconds that one request may take, the loading of a model included."""
    extra_body: dict[str, object] = {}
    """Further fields of every request, as the server defines them: `{repeat_penalty: 1.0}` for llama.cpp."""

    @model_validator(mode="after")
    def _no_keys(self) -> ServerEngine:
        """Of the section, not the field, so that no message quotes the value."""
        no_key_in_the_address("base_url", self.base_url)
        variable_name(self.api_key_env)
        no_key_in_the_body(self.extra_body)
        return self


class VllmEngine(CheckedEngine):
    """vLLM in this process: one engine per base, kept over rounds, asleep while students train."""

    kind: str = "vllm"
    """`vllm`: needs a GPU and the extra `vllm`."""
    memory: ShapesNothing[float] = Field(default=0.9, gt=0, le=1)
    """Share of the GPU's memory that it takes while it is awake."""


_OWN = {"local": EngineConfig, "openai": ServerEngine, "vllm": VllmEngine}
AnyEngine = Annotated[EngineConfig, Kinds("engines", base=EngineConfig, plain=CheckedEngine, own=_OWN, named=True)]
