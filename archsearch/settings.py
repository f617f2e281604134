"""Study files: typed settings, overrides from the command line, errors that name the file, the field and the value."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from archsearch.files import InputError, read_yaml, resources


class Settings(BaseModel):
    """Settings of a study file: frozen, and an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


Model = TypeVar("Model", bound=Settings)


def studies() -> list[str]:
    """Names of the studies that archsearch ships."""
    return sorted(path.stem for path in resources("studies").glob("*.yaml"))


def find_study(name_or_path: str | Path) -> Path:
    """The file of a shipped study's name, or the path itself. Raises ``InputError`` where there is none."""
    if str(name_or_path) in studies():
        return resources("studies") / f"{name_or_path}.yaml"
    path = Path(name_or_path)
    if path.suffix in (".yaml", ".yml"):
        return path
    close = difflib.get_close_matches(str(name_or_path), studies(), 1)
    hint = f"; did you mean {close[0]}?" if close else ""
    raise InputError(f"study {name_or_path} is neither a YAML file nor one of {', '.join(studies())}{hint}")


def read_study(path: Path, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """The mapping of a study file with ``key=value`` overrides (``train.lr=0.01``) put in.

    Raises ``InputError`` where the file is not a mapping or an override is not of that form.
    """
    fields = read_yaml(path)
    if not isinstance(fields, dict):
        raise InputError(f"{path}: a study is a mapping of settings")
    for override in overrides:
        key, equals, value = override.partition("=")
        if not equals or not key:
            raise InputError(f"override {override!r} is not of the form key=value, as train.lr=0.01")
        _put(fields, key.split("."), _value(override, value), override)
    return fields


def _value(override: str, text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        raise InputError(f"override {override!r}: {text!r} is not a YAML value") from None


def _put(fields: Any, keys: list[str], value: Any, override: str) -> None:
    *folders, leaf = keys
    for folder in folders:
        if isinstance(fields, list) and folder.isdigit() and int(folder) < len(fields):
            fields = fields[int(folder)]
        elif isinstance(fields, dict):
            fields = fields.setdefault(folder, {})
        else:
            raise InputError(f"override {override!r}: there is no field {folder!r} to go into")
    if isinstance(fields, list) and leaf.isdigit() and int(leaf) < len(fields):
        fields[int(leaf)] = value
    elif isinstance(fields, dict):
        fields[leaf] = value
    else:
        raise InputError(f"override {override!r}: there is no field {leaf!r} to set")


def parse(model: type[Model], fields: dict[str, Any], path: Path) -> Model:
    """``fields`` as ``model``. Raises ``InputError`` with one line for the first fault: file, field, value."""
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        raise InputError(f"{path}: {_first_fault(error, model)}") from None


def _first_fault(error: ValidationError, model: type[BaseModel]) -> str:
    faults = error.errors()
    # An unknown key explains more than the missing one that it stands for.
    fault = next((f for f in faults if f["type"] in ("extra_forbidden", "unexpected_keyword_argument")), faults[0])
    where = ".".join(str(part) for part in fault["loc"]) or "the study"
    if fault["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        known = _known_names(model)
        close = difflib.get_close_matches(str(fault["loc"][-1]), known, 1)
        hint = f"; did you mean {close[0]}?" if close else ""
        return f"{where}: unknown key{hint}"
    if fault["type"] == "missing":
        return f"{where}: is missing"
    message = fault["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
    value = fault["input"]
    shown = "" if isinstance(value, dict | list) else f" (given {value!r})"
    return f"{where}: {message[0].lower()}{message[1:]}{shown}"


def _known_names(model: Any) -> list[str]:
    """All field names in a tree of settings, for hints."""
    names: list[str] = []
    seen: set[Any] = set()

    def visit(kind: Any) -> None:
        if kind in seen:
            return
        seen.add(kind)
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            names.extend(kind.model_fields)  # those of its base classes too
            for field in kind.model_fields.values():
                visit_type(field.annotation)
            return
        for name, annotation in getattr(kind, "__annotations__", {}).items():
            if not name.startswith("_"):
                names.append(name)
                visit_type(annotation)

    def visit_type(annotation: Any) -> None:
        if isinstance(annotation, type):
            visit(annotation)
        for inner in getattr(annotation, "__args__", ()):
            visit_type(inner)

    visit(model)
    return names
