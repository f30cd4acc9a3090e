"""JSON schema of option files for editors, made of fields and of the signatures of registered classes."""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import Callable, Iterator, Mapping
from types import NoneType, UnionType
from typing import Any

from basicsr.utils.registry import ARCH_REGISTRY, DATASET_REGISTRY, LOSS_REGISTRY, METRIC_REGISTRY, MODEL_REGISTRY

from lightsr_basicsr.fields import Field
from lightsr_basicsr.tools.check.basicsr_fields import METRICS
from lightsr_basicsr.tools.check.basicsr_keys import PUT_BY_BASICSR
from lightsr_basicsr.tools.check.known import fields_of_model, fields_of_set, sources_known, within

Schema = dict[str, Any]

DRAFT = "http://json-schema.org/draft-07/schema#"
SECTIONS = ("train", "val", "path", "logger", "comparison")
EXTENDS, PART = "extends", "part_of_"
REMOVED: Schema = {"type": "null"}
KINDS = {int: "integer", float: "number", bool: "boolean", str: "string", list: "array", tuple: "array", dict: "object"}
# `name (type): text` in a docstring, up to the next of its kind or an empty line.
ARGUMENT = re.compile(
    r"^ +(\w+)(?: \([^\n]*?\))?: +(.+?)(?=^ +\w+(?: \([^\n]*?\))?: |^ *$|\Z)", re.MULTILINE | re.DOTALL
)


def option_schema() -> Schema:
    """Return the JSON schema (draft 7) of option files, with all classes that are registered now."""
    models = dict(_registered(MODEL_REGISTRY))
    fields = {key: field for model in models.values() for key, field in fields_of_model(model).items()}
    fields = {key: field for key, field in fields.items() if key not in PUT_BY_BASICSR}
    top = _section(within(fields, ""))
    keys = top["properties"]
    keys.update({name: _section(within(fields, name), keys.get(name)) for name in SECTIONS})
    keys["model_type"] = {**keys["model_type"], "enum": sorted(models)}
    keys["logger"]["properties"]["wandb"] = _section(within(fields, "logger.wandb"), {"type": ["object", "null"]})
    metrics = {"type": ["object", "null"], "additionalProperties": {"$ref": "#/definitions/metric"}}
    keys["val"]["properties"]["metrics"].update(metrics)
    keys["val"]["type"] = ["object", "null"]
    for key, field in keys["train"]["properties"].items():
        if key.endswith("_opt"):
            field.update({"if": {"type": "object"}, "then": {"$ref": "#/definitions/loss"}})
        elif key.startswith("optim_") or key == "scheduler":
            field["required"] = ["type"]
    keys["datasets"].update(
        properties={"train": {"allOf": [{"$ref": "#/definitions/dataset"}, {"required": _needed_in_training()}]}},
        additionalProperties={"$ref": "#/definitions/dataset"},
    )
    whole = {
        **top,
        "patternProperties": {"^network_": {"$ref": "#/definitions/network"}},
        "anyOf": [{"required": ["train", "logger"]}, {"required": ["val"]}],
        "allOf": [_of_model(name, model) for name, model in sorted(models.items()) if sources_known(model)],
    }
    definitions = {
        "file": whole,
        "network": _by_type(ARCH_REGISTRY, _arguments),
        "dataset": _by_type(DATASET_REGISTRY, _keys_of_set),
        "loss": _by_type(LOSS_REGISTRY, _arguments),
        "metric": _by_type(METRIC_REGISTRY, _arguments_of_metric),
    }
    return {
        "$schema": DRAFT,
        "title": "Option file of BasicSR with lightsr-basicsr",
        **_about(whole),
        "if": {"required": ["name"], "not": {"required": [EXTENDS]}},
        "then": {"$ref": "#/definitions/file"},
        "else": {"$ref": f"#/definitions/{PART}file"},
        "definitions": {**definitions, **{f"{PART}{name}": _part(each) for name, each in definitions.items()}},
    }


def _about(schema: Schema) -> Schema:
    """Return what a schema says to readers, and the names of its keys, without any rule."""
    keys = {name: _about(each) for name, each in schema.get("properties", {}).items()}
    texts = {key: schema[key] for key in ("description", "default") if key in schema}
    return {**texts, **({"properties": keys} if keys else {})}


def _part(schema: Any) -> Any:
    """Return the schema of a file that extends another, or is extended: no key is required, and ``~`` removes one."""
    if not isinstance(schema, Mapping):
        return schema
    part = {key: _part_of(key, value) for key, value in schema.items() if key not in ("required", "propertyNames")}
    if "propertyNames" in schema:
        part["allOf"] = [*part.get("allOf", ()), _or_removed(schema["propertyNames"])]
    if "type" in part:
        kinds = part["type"] if isinstance(part["type"], list) else [part["type"]]
        part["type"] = [*dict.fromkeys([*kinds, "null"])]
    if "enum" in part:
        part["enum"] = [*part["enum"], None]
    if "anyOf" in part:
        part["anyOf"] = [*part["anyOf"], {"type": "null"}]
    return part


def _or_removed(names: Schema) -> Schema:
    """Return the rule that a key has one of these names, or is removed."""
    if "pattern" in names:
        return {"patternProperties": {names["pattern"]: True}, "additionalProperties": REMOVED}
    return {"properties": dict.fromkeys(names["enum"], True), "additionalProperties": REMOVED}


def _part_of(key: str, value: Any) -> Any:
    """Return the value of a keyword of a schema in the schema of a part."""
    if key in ("properties", "patternProperties"):
        return {name: _part(each) for name, each in value.items()}
    if key in ("allOf", "anyOf"):
        return [_part(each) for each in value]
    if key == "$ref":
        return value.replace("#/definitions/", f"#/definitions/{PART}")
    if key == "additionalProperties" and value is False:
        return REMOVED
    # What a rule depends on, and items of lists, are the same in a part.
    return _part(value) if key in ("then", "else", "additionalProperties") else value


def _registered(registry: Any) -> Iterator[tuple[str, Any]]:
    """Yield names as option files have them, and what they stand for."""
    for name, registered in registry:
        yield name.removesuffix("_basicsr"), registered


def _section(fields: Mapping[str, Field], about: Mapping | None = None) -> Schema:
    """Return the schema of a section with these ``fields``; ``about`` has more keywords of it."""
    exact = {key: field for key, field in fields.items() if not key.endswith("*")}
    needed = [key for key, field in exact.items() if field.required == "always"]
    starts = {f"^{key[:-1]}": field.schema() for key, field in fields.items() if key.endswith("*")}
    schema = {"type": "object", "properties": {key: field.schema() for key, field in exact.items()}, "required": needed}
    return {**schema, **({"patternProperties": starts} if starts else {}), **(about or {})}


def _needed_in_training() -> list[str]:
    return [key for key, field in fields_of_set(None).items() if field.required == "train"]


def _of_model(name: str, model: type) -> Schema:
    """Return the rule that with this ``model_type`` the sections hold no other keys than are read."""
    fields = fields_of_model(model)
    sections = {key: _keys_of_section(within(fields, key)) for key in SECTIONS}
    then = {"propertyNames": _names(within(fields, "")), "properties": sections}
    return {"if": {"properties": {"model_type": {"const": name}}, "required": ["model_type"]}, "then": then}


def _keys_of_section(fields: Mapping[str, Field]) -> Schema:
    """Return the rule that a section holds no other key than these, and all that a training needs."""
    needed = [key for key, field in fields.items() if field.required == "train" and key != "val_freq"]
    return {"propertyNames": _names(fields), "required": needed}


def _names(fields: Mapping[str, Field]) -> Schema:
    exact, starts = ([key for key in fields if key.endswith("*") is starred] for starred in (False, True))
    patterns = "|".join([*sorted(exact), *(key.replace("*", ".*") for key in starts)])
    return {"pattern": f"^({patterns})$"} if starts else {"enum": sorted(exact)}


def _by_type(registry: Any, describe: Callable[[Any], Schema]) -> Schema:
    """Return the schema of a section whose ``type`` names what its other keys are for."""
    named = dict(sorted(_registered(registry)))
    rules = [
        {"if": {"properties": {"type": {"const": name}}, "required": ["type"]}, "then": describe(registered)}
        for name, registered in named.items()
    ]
    return {"type": "object", "required": ["type"], "properties": {"type": {"enum": [*named]}}, "allOf": rules}


def _keys_of_set(dataset: type) -> Schema:
    """Return the schema of a data set's section."""
    fields = fields_of_set(dataset)
    schema = {"description": _summary(dataset), "properties": {key: field.schema() for key, field in fields.items()}}
    needed = [key for key, field in fields.items() if field.required == "always"]
    return {**schema, "required": needed, "additionalProperties": not sources_known(dataset)}


def _arguments_of_metric(metric: Callable) -> Schema:
    schema = _arguments(metric, given=("img", "img2"))
    shared = {key: METRICS[key].schema() for key in METRICS if key in schema["properties"] or key == "better"}
    # BasicSR's metrics take any other key, and do nothing with it.
    others = not metric.__module__.startswith(("basicsr.", "lightsr_basicsr."))
    return {**schema, "properties": {**schema["properties"], **shared}, "additionalProperties": others}


def _arguments(function: Any, given: tuple[str, ...] = ()) -> Schema:
    """Return the schema of the arguments of a class or function, without those that BasicSR gives."""
    helps, hints = _help_of(function), _hints_of(function)
    parameters = {name: each for name, each in inspect.signature(function).parameters.items() if name not in given}
    named = {
        name: each for name, each in parameters.items() if each.kind not in (each.VAR_KEYWORD, each.VAR_POSITIONAL)
    }
    properties = {name: _value(each, hints.get(name), helps.get(name, "")) for name, each in named.items()}
    return {
        "description": _summary(function),
        "properties": {"type": True, **properties},
        "required": [name for name, each in named.items() if each.default is each.empty],
        "additionalProperties": any(each.kind is each.VAR_KEYWORD for each in parameters.values()),
    }


def _value(parameter: inspect.Parameter, hint: Any, help: str) -> Schema:
    """Return the schema of one argument, of its type hint, or else of what its default value is like."""
    default = None if parameter.default is parameter.empty else parameter.default
    union = typing.get_origin(hint) in (typing.Union, UnionType)
    alternatives = typing.get_args(hint) if union else (hint,)
    kinds = [KINDS.get(typing.get_origin(each) or each) for each in alternatives if each is not NoneType]
    if hint is None:
        # Without hints 1 may stand for 0.1.
        kinds = ["number" if type(default) is int else KINDS.get(type(default))]
    nullable = ["null"] if NoneType in alternatives or default is None else []
    schema = {"type": [*dict.fromkeys(kinds), *nullable]} if None not in kinds else {}
    plain = isinstance(default, (int, float, str, list))
    return {**schema, **({"description": help} if help else {}), **({"default": default} if plain else {})}


def _hints_of(function: Any) -> dict[str, Any]:
    try:
        return typing.get_type_hints(function.__init__ if inspect.isclass(function) else function)
    except Exception:  # names that exist for type checkers only
        return {}


def _help_of(function: Any) -> dict[str, str]:
    """Return the first sentence about each argument in the docstrings of a class or function."""
    texts = [inspect.getdoc(function) or "", inspect.getdoc(getattr(function, "__init__", None)) or ""]
    found = {name: " ".join(text.split()) for doc in texts for name, text in ARGUMENT.findall(doc)}
    return {name: text.split(". ")[0].rstrip(".") + "." for name, text in found.items()}


def _summary(registered: Any) -> str:
    return (inspect.getdoc(registered) or "").strip().partition("\n")[0]
