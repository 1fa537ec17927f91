"""Headless Chromium driven over its DevTools pipe: pages, real mouse and keys, console, pictures.

Nothing besides the browser is needed: messages are JSON that ends with a zero byte, written to file
descriptor 3 of the browser and read from its 4.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import select
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

__all__ = ["Browser", "find_chromium"]

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
_OPTIONS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
    "--disable-background-networking", "--disable-extensions", "--disable-sync", "--mute-audio",
    "--hide-scrollbars", "--remote-debugging-pipe",
)  # fmt: skip


def find_chromium() -> str | None:
    """Path of a Chromium, or None."""
    return next((path for name in _NAMES if (path := shutil.which(name))), None)


class Browser:
    """One page; use it in a `with` statement.

    Attributes:
        problems: what the page wrote to the console as an error or warning, and its uncaught
            exceptions.
        requests: addresses that the page asked for.
    """

    def __init__(self, folder: Path, *, width: int, height: int, seconds: float = 60.0) -> None:
        """Start with an empty profile in `folder`; every wait ends after `seconds`."""
        self.problems: list[str] = []
        self.requests: list[str] = []
        self._seconds = seconds
        self._buffer = b""
        self._loaded = False
        self._number = 0
        inward, self._to = os.pipe()
        self._from, outward = os.pipe()
        self._log = (folder / "chromium.log").open("wb")
        words = [find_chromium() or "chromium", *_OPTIONS, f"--user-data-dir={folder / 'profile'}"]
        self._process = subprocess.Popen(
            [
                "/bin/bash",
                "-c",
                f'exec "$@" 3<&{inward} 4>&{outward}',
                "bash",
                *words,
                "about:blank",
            ],
            pass_fds=(inward, outward),
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
        )
        os.close(inward)
        os.close(outward)
        self._session = ""
        pages = self._call("Target.getTargets")["targetInfos"]
        target = next(page["targetId"] for page in pages if page["type"] == "page")
        attached = self._call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self._call(f"{domain}.enable")
        self.resize(width, height)

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError, RuntimeError, TimeoutError):
            self._session = ""
            self._call("Browser.close")
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._to)
        os.close(self._from)
        self._log.close()

    def resize(self, width: int, height: int) -> None:
        self._call(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=False,
        )  # fmt: skip

    def dark(self, on: bool) -> None:
        value = "dark" if on else "light"
        self._call(
            "Emulation.setEmulatedMedia",
            features=[{"name": "prefers-color-scheme", "value": value}],
        )

    def open(self, path: Path) -> None:
        """Load a file and wait until it is there; problems and requests begin anew."""
        self._loaded = False
        self.problems.clear()
        self.requests.clear()
        self._call("Page.navigate", url=path.resolve().as_uri())
        end = time.monotonic() + self._seconds
        while not self._loaded:
            self._receive(end)

    def js(self, code: str) -> Any:
        """Value of an expression or of the promise that it gives."""
        found = self._call(
            "Runtime.evaluate", expression=code, returnByValue=True, awaitPromise=True,
            userGesture=True,
        )  # fmt: skip
        if "exceptionDetails" in found:
            raise RuntimeError(str(found["exceptionDetails"].get("exception", found)))
        return found["result"].get("value")

    def until(self, code: str) -> Any:
        """The first value of an expression that is true."""
        end = time.monotonic() + self._seconds
        while not (value := self.js(code)):
            if time.monotonic() > end:
                raise TimeoutError(f"never true: {code}")
            time.sleep(0.05)
        return value

    def move(self, x: float, y: float, held: bool = False) -> None:
        self._mouse("mouseMoved", x, y, "left" if held else "none", int(held))

    def click(self, x: float, y: float) -> None:
        self.move(x, y)
        self._mouse("mousePressed", x, y, "left", 1)
        self._mouse("mouseReleased", x, y, "left", 0)

    def click_on(self, selector: str) -> None:
        """Click the middle of an element, scrolled into sight."""
        x, y = self.js(
            f"(() => {{const e = document.querySelector({json.dumps(selector)});"
            "e.scrollIntoView({block: 'center'});const b = e.getBoundingClientRect();"
            "return [b.left + b.width / 2, b.top + b.height / 2]})()"
        )
        self.click(x, y)

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        self.move(*start)
        self._mouse("mousePressed", *start, "left", 1)
        for share in (0.3, 0.7, 1.0):
            x, y = (a + (b - a) * share for a, b in zip(start, end, strict=True))
            self.move(x, y, held=True)
        self._mouse("mouseReleased", *end, "left", 0)

    def press(self, key: str) -> None:
        """One key by its name, as `Enter` or `ArrowRight`."""
        for kind in ("keyDown", "keyUp"):
            self._call("Input.dispatchKeyEvent", type=kind, key=key, code=key)

    def allow_clipboard(self) -> None:
        session, self._session = self._session, ""
        self._call(
            "Browser.grantPermissions",
            permissions=["clipboardReadWrite", "clipboardSanitizedWrite"],
        )
        self._session = session

    def picture(self, path: Path, whole: bool = False) -> None:
        """Write what is seen, or all of the page, as PNG."""
        data = self._call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(data["data"]))

    def _mouse(self, kind: str, x: float, y: float, button: str, buttons: int) -> None:
        self._call(
            "Input.dispatchMouseEvent", type=kind, x=x, y=y, button=button, buttons=buttons,
            clickCount=0 if kind == "mouseMoved" else 1,
        )  # fmt: skip

    def _call(self, method: str, **values: Any) -> dict[str, Any]:
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": values}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        end = time.monotonic() + self._seconds
        while True:
            answer = self._receive(end)
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]

    def _receive(self, end: float) -> dict[str, Any]:
        """The next message; events are noted."""
        while b"\0" not in self._buffer:
            left = end - time.monotonic()
            if left <= 0 or not select.select([self._from], [], [], left)[0]:
                raise TimeoutError("the browser does not answer")
            data = os.read(self._from, 1 << 20)
            if not data:
                raise RuntimeError("the browser has ended")
            self._buffer += data
        text, _, self._buffer = self._buffer.partition(b"\0")
        message = json.loads(text)
        self._note(message.get("method", ""), message.get("params", {}))
        return message

    def _note(self, method: str, values: dict[str, Any]) -> None:
        if method == "Page.loadEventFired":
            self._loaded = True
        elif method == "Network.requestWillBeSent":
            self.requests.append(values["request"]["url"])
        elif method == "Runtime.exceptionThrown":
            details = values["exceptionDetails"]
            self.problems.append(str(details.get("exception", {}).get("description", details)))
        elif method == "Log.entryAdded" and values["entry"]["level"] in ("error", "warning"):
            self.problems.append(values["entry"]["text"])
        elif method == "Runtime.consoleAPICalled" and values["type"] in ("error", "warning"):
            self.problems.append(str(values["args"]))
