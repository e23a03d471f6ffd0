"""Open strings in a config: a name that the registry knows, and sections whose `kind` chooses their keys."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationError
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from qrdistill.base.errors import ConfigError
from qrdistill.base.plugins import registry
from qrdistill.base.settings import Settings


@dataclass(frozen=True)
class KnownName:
    """A string field that names an entry of a registry group; `module:function` is taken as it is."""

    group: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._check, core_schema.str_schema())

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"anyOf": [{"enum": registry.bundled(self.group)}, {"type": "string"}]}

    def _check(self, name: str) -> str:
        if ":" not in name and not registry.knows(self.group, name):
            raise PydanticCustomError("unknown_name", "{said}", {"said": registry.unknown(self.group, name)})
        return name


@dataclass(frozen=True, eq=False)  # an annotation has to have a hash
class Kinds:
    """A section whose `kind` names an entry of a registry group, which brings the section's class of settings.

    The class is `own[kind]`, else the entry's attribute `Config`, else `plain`; it derives from `base` or is in `own`.
    Mistakes inside become one error of type `in_kind`, whose context holds the class and pydantic's list of errors.
    named: a name alone stands for the section with that `kind`.
    """

    group: str
    base: type[Settings]
    plain: type[Settings]
    own: Mapping[str, type[Settings]] = field(default_factory=dict[str, type[Settings]])
    named: bool = False

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            self.read, serialization=core_schema.simple_ser_schema("any")
        )

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """The kinds that come with this package, each with its keys; and any other kind, with any keys."""
        kinds: dict[type[Settings], list[str]] = {}
        for kind in registry.bundled(self.group):
            kinds.setdefault(self.settings_of(kind), []).append(kind)
        known: list[JsonSchemaValue] = []
        for settings, names in kinds.items():
            shape = handler(settings.__pydantic_core_schema__)
            about = settings.model_fields["kind"].description
            shape["properties"]["kind"] = {"title": "Kind", "type": "string", "enum": names, "description": about}
            if self._default not in names:
                shape["required"] = sorted({"kind", *shape.get("required", ())})
            known.append(shape)
        named = {"type": "string", "not": {"enum": registry.bundled(self.group)}}
        other: JsonSchemaValue = {"type": "object", "properties": {"kind": named}, "required": ["kind"]}
        alone: list[JsonSchemaValue] = [{"type": "string"}] if self.named else []
        return {"anyOf": [*alone, *known, other]}

    def read(self, value: Any) -> Settings:
        """A section as its kind's settings. Raises PydanticCustomError."""
        if isinstance(value, (self.base, *self.own.values())):
            return value
        if self.named and isinstance(value, str):
            value = {"kind": value}
        if not isinstance(value, Mapping):
            raise PydanticCustomError("dict_type", "a section of keys is needed here, `kind` among them")
        given = cast("Mapping[str, Any]", value)
        kind = given.get("kind", self._default)
        if kind is None:
            raise PydanticCustomError("no_kind", "say which `kind` this is")
        try:
            settings = self.settings_of(str(kind))
        except ConfigError as error:
            raise PydanticCustomError("unknown_kind", "{said}", {"said": error.message}) from None
        try:
            return settings.model_validate(given)
        except ValidationError as error:
            first, inside = error.errors()[0]["msg"], {"settings": settings, "errors": error.errors()}
            raise PydanticCustomError("in_kind", "{first}", {"first": first, **inside}) from None

    @property
    def _default(self) -> str | None:
        default = self.plain.model_fields["kind"].default
        return default if isinstance(default, str) else None

    def settings_of(self, kind: str) -> type[Settings]:
        """Raises ConfigError for an unknown kind, or one whose class of settings cannot be used."""
        if kind in self.own:
            return self.own[kind]
        settings = getattr(registry.find(self.group, kind), "Config", self.plain)
        allowed = (self.base, *self.own.values())
        if not (isinstance(settings, type) and issubclass(settings, allowed) and "kind" in settings.model_fields):
            raise ConfigError(
                f"the Config of {kind!r} has to be a subclass of {self.base.__module__}.{self.base.__name__} "
                "with a field `kind: str`"
            )
        return settings
