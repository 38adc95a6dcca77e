"""Pages that stand alone, made from the templates beside the module that asks.

The style that all pages share is style.css.j2 here. Whatever comes from the data is escaped.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined


def render_page(folder: Path, template: str, values: Mapping[str, Any]) -> str:
    """The page that a template in `folder` makes of these values.

    It is text in any encoding: file names that are not (PEP 383) are written with escapes.

    Raises jinja2.TemplateError for a template that asks for what is not given.
    """
    environment = Environment(
        loader=FileSystemLoader([folder, Path(__file__).parent]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["count"] = count
    environment.filters["percent"] = percent
    page = environment.get_template(template).render(values)
    return page.encode("utf-8", "backslashreplace").decode("utf-8")


def count(value: int) -> str:
    """1234567 as 1,234,567."""
    return f"{value:,}"


def percent(part: float, whole: float) -> str:
    """A share for a reader: what is not nothing is not shown as 0."""
    share = 100 * part / whole if whole else 0.0
    if 0 < share < 0.1:
        return "< 0.1 %"
    if 99.9 < share < 100:
        return "> 99.9 %"
    return f"{share:.1f} %" if share % 100 else f"{share:.0f} %"
