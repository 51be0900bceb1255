"""Chromium without a window, which opens pages from the disk and is used like by a person."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from selenium.webdriver import Chrome, ChromeOptions, ChromeService

from harness.processes import await_that

_OPTIONS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-dev-shm-usage",
)


class Browser:
    """A browser with a profile of its own.

    saved: the folder that it saves files into
    """

    def __init__(self, driver: Chrome, saved: Path) -> None:
        self.driver = driver
        self.saved = saved

    def open(self, page: Path, width: int = 1200, scheme: str = "light") -> None:
        """Open a page in a window of this width, and wait until its first videos are there."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.do("Emulation.setEmulatedMedia", features=features)
        self.do(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=900, deviceScaleFactor=1, mobile=False,
        )  # fmt: skip
        self.driver.get("about:blank")
        self.driver.get(page.as_uri())
        self.wait_for("document.getElementById('count').textContent")

    def do(self, command: str, **parameters: object) -> Any:
        """Run a command of the DevTools protocol."""
        return self.driver.execute_cdp_cmd(command, parameters)

    def ask(self, expression: str) -> Any:
        """Return the value of an expression in the page."""
        return self.driver.execute_script(f"return ({expression});")

    def wait_for(self, expression: str) -> None:
        """Wait until an expression is true in the page."""
        await_that(lambda: bool(self.ask(expression)), expression)

    def click(self, selector: str) -> None:
        """Click an element, with a real mouse event."""
        self.driver.find_element("css selector", selector).click()

    def type(self, selector: str, text: str) -> None:
        """Type into a field."""
        self.driver.find_element("css selector", selector).send_keys(text)

    def press(self, *keys: str) -> None:
        """Press keys where the focus is."""
        for key in keys:
            self.driver.switch_to.active_element.send_keys(key)

    def complaints(self) -> list[str]:
        """Return what the console has said since the last call."""
        return [str(entry["message"]) for entry in self.driver.get_log("browser")]

    def requests(self) -> set[str]:
        """Return the schemes of all addresses that were requested since the last call."""
        events = [json.loads(e["message"])["message"] for e in self.driver.get_log("performance")]
        urls = [
            event["params"]["request"]["url"]
            for event in events
            if event["method"] == "Network.requestWillBeSent"
        ]
        return {url.partition(":")[0] for url in urls}


@contextlib.contextmanager
def browser(folder: Path) -> Iterator[Browser]:
    """Run a browser with its profile and its downloads in a folder."""
    options = ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    for option in (*_OPTIONS, f"--user-data-dir={folder / 'profile'}"):
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = Chrome(options, ChromeService("/usr/bin/chromedriver"))
    try:
        saved = folder / "saved"
        saved.mkdir()
        driver.execute_cdp_cmd(
            "Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(saved)}
        )
        yield Browser(driver, saved)
    finally:
        driver.quit()
