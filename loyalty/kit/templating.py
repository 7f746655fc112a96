"""Pages as text, from the templates of either package. No word of HTTP."""

from __future__ import annotations

import functools
from importlib import resources
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined


def render(template: str, **values: Any) -> str:  # noqa: ANN401  # what the template shows
    """The text of a page: whole in itself, so that it can be kept as a file."""
    return _environment().get_template(template).render(**values)


@functools.cache
def _environment() -> Environment:
    return Environment(
        loader=FunctionLoader(_source),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _source(name: str) -> str:
    package, _, path = name.rpartition(":")
    return resources.files(package or "loyalty").joinpath(path).read_text(encoding="utf-8")
