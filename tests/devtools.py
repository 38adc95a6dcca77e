"""A headless Chromium that a test drives as a user does: keys, files, windows of any size."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tests.devtools_connection import PATIENCE, Connection, Json

_KEYS = {
    "Tab": ("Tab", 9, ""),
    "Enter": ("Enter", 13, "\r"),
    " ": ("Space", 32, " "),
    "ArrowLeft": ("ArrowLeft", 37, ""),
    "Home": ("Home", 36, ""),
    "End": ("End", 35, ""),
}


class Browser(Connection):
    """A Chromium with one page. Skips the test where there is none.

    `problems` collects what the page's console warns of: errors, refusals of its policy, uncaught
    exceptions. `requests` are the addresses that it asked for, those in the page itself left out.
    """

    def __init__(self, folder: Path) -> None:
        self.problems: list[str] = []
        self.requests: list[str] = []
        self._handlers: dict[str, Callable[[Json], None]] = {}
        super().__init__(folder)
        for domain in ("Page", "Runtime", "Log", "Network", "DOM"):
            self.call(f"{domain}.enable")

    def open(self, address: str, width: int = 1280, height: int = 900, dark: bool = False) -> None:
        """Load a page in a window of this size; returns when all of it is there."""
        self.resize(width, height)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.problems.clear()
        self.requests.clear()
        self.events.clear()
        self.call("Page.navigate", url=address)
        self.wait_event("Page.loadEventFired")

    def resize(self, width: int, height: int = 900) -> None:
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 500,
        )

    def evaluate(self, script: str) -> Any:  # noqa: ANN401
        """The value of an expression in the page; a promise is waited for."""
        got = self.call(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in got, got["exceptionDetails"]
        return got["result"].get("value")

    def wait_until(self, script: str) -> None:
        """Wait for an expression to be true."""
        end = time.monotonic() + PATIENCE
        while not self.evaluate(script):
            assert time.monotonic() < end, (script, self.evaluate("document.body.innerText"))
            self.receive(0.02)

    def press(self, key: str, *, shift: bool = False, times: int = 1) -> None:
        """Press and let go a key."""
        code, number, text = _KEYS[key]
        shared = {"key": key, "code": code, "windowsVirtualKeyCode": number}
        shared["modifiers"] = 8 if shift else 0
        for _ in range(times):
            down: Json = {"type": "keyDown" if text else "rawKeyDown", **shared}
            if text:
                down["text"] = text
            self.call("Input.dispatchKeyEvent", **down)
            self.call("Input.dispatchKeyEvent", type="keyUp", **shared)

    def click(self, selector: str) -> None:
        """Click with the mouse in the middle of an element."""
        x, y = self._middle(selector)
        shared = {"x": x, "y": y, "button": "left", "clickCount": 1}
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, **shared)

    def point_at(self, selector: str) -> None:
        x, y = self._middle(selector)
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def choose_files(self, paths: Sequence[Path], opener: Callable[[], None]) -> None:
        """Answer the file dialogue that `opener` brings up."""
        self.call("Page.setInterceptFileChooserDialog", enabled=True)
        opener()
        node = self.wait_event("Page.fileChooserOpened")["backendNodeId"]
        self.call("DOM.setFileInputFiles", files=[*map(str, paths)], backendNodeId=node)

    def drop_files(self, paths: Sequence[Path], x: int, y: int) -> Iterator[str]:
        """Drag files over the page and let them go; yields each step's name after it."""
        data = {"items": [], "files": [*map(str, paths)], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            self.call("Input.dispatchDragEvent", type=kind, x=x, y=y, data=data)
            yield kind

    def intercept(self, part: str, handle: Callable[[Json], tuple[str, Json] | None]) -> None:
        """Let `handle` say what becomes of answers whose address contains `part`.

        It returns a method of the protocol's domain Fetch with its arguments, or None for an answer
        that never comes.
        """

        def on_paused(event: Json) -> None:
            decision = handle(event)
            if decision is not None:
                method, arguments = decision
                self.send(f"Fetch.{method}", requestId=event["requestId"], **arguments)

        self._handlers["Fetch.requestPaused"] = on_paused
        pattern = {"urlPattern": f"*{part}*", "requestStage": "Response"}
        self.call("Fetch.enable", patterns=[pattern])

    def let_through(self) -> None:
        """End interception."""
        self.call("Fetch.disable")

    def _middle(self, selector: str) -> Sequence[float]:
        script = f"""(element => {{
          element.scrollIntoView({{block: "center"}});
          const box = element.getBoundingClientRect();
          return [box.left + box.width / 2, box.top + box.height / 2];
        }})(document.querySelector({json.dumps(selector)}))"""
        middle: Sequence[float] = self.evaluate(script)
        return middle

    def note(self, event: Json) -> None:
        parameters = event["params"]
        match event["method"]:
            case "Log.entryAdded" if parameters["entry"]["level"] in ("error", "warning"):
                self.problems.append(parameters["entry"]["text"])
            case "Runtime.exceptionThrown":
                self.problems.append(json.dumps(parameters["exceptionDetails"]))
            case "Runtime.consoleAPICalled":
                self.problems.append(json.dumps(parameters["args"]))
            case "Network.requestWillBeSent":
                address = parameters["request"]["url"]
                if not address.startswith(("data:", "blob:")):
                    self.requests.append(address)
            case "Page.loadEventFired" | "Page.fileChooserOpened":
                self.events.append(event)
            case method if method in self._handlers:
                self._handlers[method](parameters)
