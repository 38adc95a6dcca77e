"""The page at GET /, put together from the template, style, scripts and samples here.

It stands alone: style, scripts and sample pictures are in it, and its Content-Security-Policy lets
nothing else run, load or connect but what it was made of and the endpoint itself.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from flask import Flask, Response, request
from jinja2 import Environment, FileSystemLoader, StrictUndefined

_FOLDER = Path(__file__).parent
_TEMPLATE = "page.html.j2"
_STYLE = "page.css"

SCRIPTS = ("server_timing.js", "client.js", "overlay.js", "lists.js", "main.js")
"""In this order: each uses what those before it define."""

SAMPLES = {
    "sample-1.jpg": "a ball, two cubes and a star",
    "sample-2.jpg": "two balls, two cubes and a star",
    "sample-3.jpg": "a ball, a cube and three stars",
}
"""File -> what is on it. Scenes 46, 34 and 21 of seed 2024, drawn by tools/demo_data.py."""


@dataclass(frozen=True)
class Document:
    """A page as HTML, and the Content-Security-Policy that it is to be sent with."""

    html: str
    policy: str


def add_page(app: Flask, class_names: Sequence[str], least_score: float) -> None:
    """Serve the page at GET /, made once; what the arguments mean, `render` says."""
    document = render(class_names, least_score)

    @app.get("/")
    def page() -> Response:
        response = Response(document.html, mimetype="text/html")
        response.headers["Content-Security-Policy"] = document.policy
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Referrer-Policy"] = "no-referrer"
        # Another model may answer at the same address next time.
        response.headers["Cache-Control"] = "no-cache"
        response.add_etag()
        response.make_conditional(request)
        return response


def render(class_names: Sequence[str], least_score: float) -> Document:
    """The page for a model.

    class_names: what it looks for; any text, it is escaped.
    least_score: the endpoint leaves out detections whose score is not above it.
    """
    style = _read(_STYLE)
    scripts = [_read(name) for name in SCRIPTS]
    environment = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    html = environment.get_template(_TEMPLATE).render(
        style=style,
        scripts=scripts,
        samples=[
            {"name": name, "shows": shows, "data": _base64((_FOLDER / name).read_bytes())}
            for name, shows in SAMPLES.items()
        ],
        class_names=class_names,
        least_score=least_score,
    )
    return Document(html, _policy(style, scripts))


def _policy(style: str, scripts: Sequence[str]) -> str:
    """Nothing is allowed but these texts, pictures out of memory, and requests to the endpoint."""
    directives = {
        "default-src": ["'none'"],
        "script-src": [_source(script) for script in scripts],
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
    """What stands for one inline text in a policy."""
    return f"'sha256-{_base64(hashlib.sha256(text.encode()).digest())}'"


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _read(name: str) -> str:
    return (_FOLDER / name).read_text(encoding="utf-8")
