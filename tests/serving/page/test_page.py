from __future__ import annotations

import pytest
from flask import Flask
from flask.testing import FlaskClient

from sagemaker_object_detection.serving.page.document import add_page, render

FACTS = {"Engine": "MXNet"}


@pytest.fixture
def client() -> FlaskClient:
    app = Flask(__name__, static_folder=None)
    add_page(app, ["cat"], 0.2, lambda: FACTS)
    return app.test_client()


def test_the_page(client: FlaskClient) -> None:
    answer = client.get("/")
    assert (answer.status_code, answer.content_type) == (200, "text/html; charset=utf-8")
    assert answer.text == render(["cat"], 0.2, FACTS).html
    assert answer.headers["Content-Security-Policy"] == render(["cat"], 0.2, FACTS).policy
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Cache-Control"] == "no-cache"


def test_a_browser_that_has_it_is_told_so(client: FlaskClient) -> None:
    tag = client.get("/").headers["ETag"]
    answer = client.get("/", headers={"If-None-Match": tag})
    assert (answer.status_code, answer.data) == (304, b"")
