"""A Chromium for the tests of the pages: the system's, or playwright's own.

`python -m tests.browser.chromium` installs one where there is none; `make test` runs it first.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from playwright.sync_api import sync_playwright

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

NAMES = ("chromium", "chromium-browser", "google-chrome")
VERSION_SECONDS_MAX = 30
INSTALL_SECONDS_MAX = 900
HELP = (
    "The tests of the pages need Chromium, and it could not be installed. Install it yourself "
    "(Debian: apt-get install chromium; elsewhere: playwright install --with-deps chromium) and "
    "run the tests again."
)


def find() -> str | None:
    """The path of the system's browser, if there is one that runs; None leaves it to playwright."""
    paths = (path for name in NAMES if (path := shutil.which(name)))
    # Ubuntu's package is a stub that asks for a snap: it is there and does not run.
    return next((path for path in paths if _works([path, "--version"], VERSION_SECONDS_MAX)), None)


def is_there() -> bool:
    """Whether the tests have a browser."""
    if find():
        return True
    with sync_playwright() as playwright:
        return Path(playwright.chromium.executable_path).exists()


def _ways() -> Iterator[Sequence[Sequence[str]]]:
    """Commands that install a browser, the lightest first."""
    if shutil.which("apt-get") and (os.geteuid() == 0 or shutil.which("sudo")):
        apt = ["apt-get"] if os.geteuid() == 0 else ["sudo", "-n", "apt-get"]
        install = [*apt, "install", "--yes", "--no-install-recommends", "chromium"]
        yield [install]
        yield [[*apt, "update"], install]
    yield [[sys.executable, "-m", "playwright", "install", "chromium"]]


def _works(command: Sequence[str], seconds_max: int) -> bool:
    try:
        done = subprocess.run(  # noqa: S603  # the commands above
            command, check=False, timeout=seconds_max, capture_output=True
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def main() -> int:
    """Install a browser unless there is one; 1 and one line of help if that does not work."""
    if is_there():
        return 0
    for commands in _ways():
        sys.stderr.write(f"Chromium is missing; trying: {' && '.join(map(' '.join, commands))}\n")
        if all(_works(each, INSTALL_SECONDS_MAX) for each in commands) and is_there():
            return 0
    sys.stderr.write(f"{HELP}\n")
    return 1


if __name__ == "__main__":
    raise SystemExit(main())
