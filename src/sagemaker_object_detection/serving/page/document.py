"""The page at GET /, rendered from the template, style, script and sample images here.

It stands alone: style, script and samples are in it, and its Content-Security-Policy lets nothing
else run or load, and lets it connect to the endpoint only.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from flask import Flask, Response, request
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from sagemaker_object_detection.colors import color_of, css, text_color_on

_FOLDER = Path(__file__).parent
_TEMPLATE = "page.html.j2"
_STYLE = "page.css"
_SCRIPT = "page.js"

SAMPLES = {
    "sample-1.jpg": "a ball, two cubes and a star",
    "sample-2.jpg": "two balls, two cubes and a star",
    "sample-3.jpg": "a ball, a cube and three stars",
}
"""File -> what is on it. Scenes 46, 34 and 21 of seed 2024, drawn by tools/demo_data.py."""

SAMPLE_CLASSES = frozenset({"ball", "cube", "star"})
"""Those of the demo; the samples mean nothing to a model of other classes."""


@dataclass(frozen=True)
class Document:
    """A page as HTML, and the Content-Security-Policy that it is to be sent with."""

    html: str
    policy: str


def add_page(
    app: Flask,
    class_names: Sequence[str],
    least_score: float,
    facts: Callable[[], Mapping[str, str]] = dict,
) -> None:
    """Serve the page at GET /, rendered at the first request; see `render` for the arguments.

    facts: called once; the model is loaded by then.
    """

    @cache
    def document() -> Document:
        return render(class_names, least_score, facts())

    @app.get("/")
    def page() -> Response:
        response = Response(document().html, mimetype="text/html")
        response.headers["Content-Security-Policy"] = document().policy
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Referrer-Policy"] = "no-referrer"
        # Another model may answer at the same address next time.
        response.headers["Cache-Control"] = "no-cache"
        response.add_etag()
        response.make_conditional(request)
        return response


def render(
    class_names: Sequence[str], least_score: float, facts: Mapping[str, str] | None = None
) -> Document:
    """The page for a model.

    class_names: in the order of class_id; any text, it is escaped.
    least_score: answers of the endpoint have scores above it; the slider starts here.
    facts: of the model, name -> value.
    """
    colors = [color_of(class_id) for class_id in range(len(class_names))]
    rules = [f".c{class_id} {{ --color: {css(color)}; }}" for class_id, color in enumerate(colors)]
    style = "\n".join([_read(_STYLE), *rules])
    script = _read(_SCRIPT)
    environment = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    samples = SAMPLES if set(class_names) == SAMPLE_CLASSES else {}
    html = environment.get_template(_TEMPLATE).render(
        style=style,
        script=script,
        samples=[
            {"name": name, "shows": shows, "data": _base64((_FOLDER / name).read_bytes())}
            for name, shows in samples.items()
        ],
        class_names=class_names,
        colors=[css(color) for color in colors],
        inks=[css(text_color_on(color)) for color in colors],
        least_score=least_score,
        facts=facts or {},
    )
    return Document(html, _policy(style, script))


def _policy(style: str, script: str) -> str:
    """Allow only these texts, images out of memory, and requests to the endpoint."""
    directives = {
        "default-src": ["'none'"],
        "script-src": [_source(script)],
        "style-src": [_source(style)],
        "img-src": ["blob:", "data:"],
        "connect-src": ["'self'"],
        "base-uri": ["'none'"],
        "form-action": ["'none'"],
        "frame-ancestors": ["'none'"],
        "require-trusted-types-for": ["'script'"],
    }
    return "; ".join(" ".join([name, *sources]) for name, sources in directives.items())


def _source(text: str) -> str:
    """The hash of an inline text, as a policy lists it."""
    return f"'sha256-{_base64(hashlib.sha256(text.encode()).digest())}'"


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _read(name: str) -> str:
    return (_FOLDER / name).read_text(encoding="utf-8")
