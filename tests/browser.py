"""A real, headless Chromium for tests of pages; tests that ask for one are skipped, with a reason, where there is none.

`chromium(directory)` starts Debian's browser through Debian's driver (nothing is looked for or fetched elsewhere: the
driver's path is given) with a window of 1440x900, an empty profile under `directory`, and every name but the loopback
address unresolvable, so that a page with an external resource fails its test instead of reaching out. `Page` keeps
what a test asks of it: scripts, waits with a bound, the console's errors, a screenshot, real mouse and key events.

Each module of tests keeps one browser in a fixture of its own:

    @pytest.fixture(scope="module")
    def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
        with chromium(tmp_path_factory.mktemp("chromium")) as page:
            yield page
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

WIDTH, HEIGHT = 1440, 900
# What a page may take to show something before its test fails; generous, since both cores may be busy.
WAIT_SECONDS = 20.0
POLL_SECONDS = 0.05
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
    # Frames of a page that nobody looks at are not throttled: two players' browsers run beside each other.
    "--disable-background-timer-throttling",
    "--disable-backgrounding-occluded-windows",
    "--disable-renderer-backgrounding",
    "--force-device-scale-factor=1",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    f"--window-size={WIDTH},{HEIGHT}",
)


class Page:
    """One browser window. `driver` is selenium's, for what is not wrapped here."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver

    def open(self, url: str) -> None:
        """Load `url` and wait for its load event. Errors in the console from before are forgotten."""
        self.driver.get_log("browser")
        self.driver.get(url)

    def run(self, script: str, *values: Any) -> Any:
        """The value of a JavaScript expression; `values` are `arguments[0]` and so on."""
        return self.driver.execute_script(f"return ({script});", *values)

    def until(self, script: str, *values: Any, seconds: float = WAIT_SECONDS) -> Any:
        """Wait until the expression is true and return it; the test fails, naming the expression, after `seconds`."""
        end = time.monotonic() + seconds
        while not (value := self.run(script, *values)):
            if time.monotonic() > end:
                pytest.fail(f"the page did not come to {script!r} within {seconds} s; console: {self.errors()}")
            time.sleep(POLL_SECONDS)
        return value

    def errors(self) -> list[str]:
        """The console's errors and warnings since the last call, uncaught exceptions and failed loads included."""
        return [line["message"] for line in self.driver.get_log("browser") if line["level"] in ("SEVERE", "WARNING")]

    def screenshot(self, path: Path) -> bytes:
        """The window as a PNG, which is also written to `path`."""
        picture: bytes = self.driver.get_screenshot_as_png()
        path.write_bytes(picture)
        return picture

    def mouse(self, *steps: tuple[str, int, int], button: int = 0) -> None:
        """Real mouse events at positions of the window: each step is ("move" | "down" | "up" | "click", x, y)."""
        from selenium.webdriver.common.actions.action_builder import ActionBuilder
        from selenium.webdriver.common.actions.pointer_input import PointerInput

        actions = ActionBuilder(self.driver, mouse=PointerInput("mouse", "mouse"), duration=0)
        for kind, x, y in steps:
            actions.pointer_action.move_to_location(x, y)
            if kind in ("down", "click"):
                actions.pointer_action.pointer_down(button)
            if kind in ("up", "click"):
                actions.pointer_action.pointer_up(button)
        actions.perform()

    def wheel(self, x: int, y: int, delta: int) -> None:
        """Turn the wheel by `delta` pixels over a position of the window (positive: towards the user)."""
        from selenium.webdriver.common.action_chains import ActionChains
        from selenium.webdriver.common.actions.wheel_input import ScrollOrigin

        ActionChains(self.driver).scroll_from_origin(ScrollOrigin.from_viewport(x, y), 0, delta).perform()

    def keys(self, text: str) -> None:
        """Type into whatever has the focus."""
        from selenium.webdriver.common.action_chains import ActionChains

        ActionChains(self.driver).send_keys(text).perform()


@contextmanager
def chromium(directory: Path) -> Iterator[Page]:
    """A new browser with an empty profile under `directory`; skips the test where Debian's packages are absent."""
    binary, program = shutil.which("chromium"), shutil.which("chromedriver")
    if binary is None or program is None:
        pytest.skip("needs Debian's packages chromium and chromium-driver, which are not installed")
    webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium (the extra `dev`)")
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for flag in (*FLAGS, f"--user-data-dir={directory / 'profile'}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(program))
    try:
        # The window's inner size, which headless browsers let differ from the flag.
        driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": WIDTH, "height": HEIGHT, "deviceScaleFactor": 1, "mobile": False},
        )
        yield Page(driver)
    finally:
        driver.quit()
