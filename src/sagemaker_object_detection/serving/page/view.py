"""The route of the page."""

from __future__ import annotations

from collections.abc import Sequence

from flask import Flask, Response, request

from sagemaker_object_detection.serving.page.document import render


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
