"""Lets the reference show our docstrings as they are meant: ``Example:`` holds a session, declared arguments appear."""

from __future__ import annotations

import importlib
import re
from typing import Any

import griffe


class Examples(griffe.Extension):
    """Reads ``Example:`` as ``Examples:``, the only spelling that the documentation tool takes for a session."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """Change the docstring of one object before it is parsed."""
        marks = obj.decorators if isinstance(obj, griffe.Function) and obj.docstring is not None else []
        if any(str(each.value).startswith("public(") for each in marks):
            module, _, name = obj.path.rpartition(".")
            obj.docstring.value = getattr(importlib.import_module(module), name).__doc__
        if obj.docstring is not None:
            obj.docstring.value = re.sub(r"^(\s*)Example:$", r"\1Examples:", obj.docstring.value, flags=re.MULTILINE)
