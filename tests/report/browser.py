"""A page in Debian's Chromium: nothing of the user's, nothing from the network."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip


class Browser:
    """A browser with a profile of its own; what pages ask for and complain about is kept."""

    def __init__(self, context: Any) -> None:
        self.context = context
        self.asked: list[str] = []
        self.complaints: list[str] = []
        context.on("request", lambda request: self.asked.append(request.url))
        context.on("console", lambda message: self.complaints.append(f"{message.type}: {message.text}"))
        context.on("weberror", lambda error: self.complaints.append(str(error.error)))

    def open(self, path: Path, width: int = 1280, height: int = 900, scheme: str = "light") -> Any:
        """A tab with a file, still where nothing moves: transitions are off."""
        page = self.context.new_page()
        page.set_default_timeout(8000)
        page.set_viewport_size({"width": width, "height": height})
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        page.goto(path.as_uri())
        return page


@contextmanager
def browser(folder: Path) -> Iterator[Browser]:
    """A Chromium with the empty profile ``folder``; skips where there is none."""
    programs = (shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome"))
    program = next((path for path in programs if path), None)
    if program is None:
        pytest.skip("no Chromium on this machine (Debian's package is called `chromium`)")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright drives the browser")
    with playwright.sync_playwright() as driver:
        context = driver.chromium.launch_persistent_context(
            folder, executable_path=program, args=list(FLAGS), headless=True, offline=True
        )
        yield Browser(context)
        context.close()
