"""Chromium, driven over the WebDriver protocol with nothing but the standard library. In: a page. Out: what it shows."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from urllib.parse import quote

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
ENTER, ESCAPE, RIGHT = "\ue007", "\ue00c", "\ue014"


class Browser:
    """One browser window; a context manager.

    Parameters
    ----------
    profile : pathlib.Path
        Empty folder for the browser's files.
    """

    def __init__(self, profile):
        self._driver = subprocess.Popen(
            [DRIVER, "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        for line in self._driver.stdout:
            if "started successfully on port" in line:
                port = line.split()[-1].rstrip(".")
                self._root = f"http://127.0.0.1:{port}"
                break
        arguments = ["--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}"]
        options = {"binary": CHROMIUM, "args": arguments}
        wanted = {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
        session = self._call("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})
        self._root += f"/session/{session['sessionId']}"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._call("DELETE", "")
        self._driver.terminate()
        self._driver.wait()

    def open(self, path, width=1280, height=900, dark=False) -> None:
        """Load a file in a window of that size."""
        self._command(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 500,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._command("Emulation.setEmulatedMedia", features=[scheme])
        self._call("POST", "/url", {"url": f"file://{quote(str(path))}"})

    def run(self, script: str):
        """Value of a JavaScript expression."""
        return self._call("POST", "/execute/sync", {"script": f"return {script}", "args": []})

    def click(self, selector: str) -> None:
        """Click an element as a user does; fails where it is not visible."""
        self._call("POST", f"/element/{self._find(selector)}/click", {})

    def press(self, *keys: str) -> None:
        """Press keys, one after the other, where the focus is."""
        for key in keys:
            actions = [{"type": "keyDown", "value": key}, {"type": "keyUp", "value": key}]
            self._call(
                "POST", "/actions", {"actions": [{"type": "key", "id": "keyboard", "actions": actions}]}
            )

    def complaints(self) -> list:
        """Messages on the console since the last call: errors of scripts, and what failed to load or was refused."""
        return [entry["message"] for entry in self._call("POST", "/se/log", {"type": "browser"})]

    def _find(self, selector: str) -> str:
        return next(
            iter(self._call("POST", "/element", {"using": "css selector", "value": selector}).values())
        )

    def _command(self, name: str, **parameters) -> None:
        self._call("POST", "/goog/cdp/execute", {"cmd": name, "params": parameters})

    def _call(self, method: str, path: str, content=None):
        body = None if content is None else json.dumps(content).encode()
        request = urllib.request.Request(
            self._root + path, body, {"Content-Type": "application/json"}, method=method
        )
        for attempt in range(20):
            try:
                with urllib.request.urlopen(request, timeout=60) as answer:
                    return json.load(answer)["value"]
            except urllib.error.HTTPError as error:
                raise AssertionError(json.load(error)["value"]["message"]) from None
            except urllib.error.URLError:
                if attempt == 19:
                    raise
                time.sleep(0.2)
