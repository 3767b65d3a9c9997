"""The rendered book: built once as `make book` builds it, served on loopback, seen in Chromium."""

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

ROOT = Path(__file__).parents[2]
SOURCES = ["_config.yml", "_toc.yml", "book", "container", "infra", ".github", "notebooks"]
PUBLISHED = {
    "BOOK_URL": "https://book.example.org/byoc",
    "BOOK_REPOSITORY": "https://github.com/example/byoc",
}
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking"]
QUIET += ["--disable-component-update", "--disable-sync", "--no-first-run"]


@pytest.fixture(scope="session")
def published() -> dict[str, str]:
    """What a publisher sets in the environment."""
    return PUBLISHED


@pytest.fixture(scope="session")
def html(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pages, built with warnings as errors from the notebooks as they lie in the repository."""
    work = tmp_path_factory.mktemp("book")
    source = work / "source"
    source.mkdir()
    for name in SOURCES:
        if (ROOT / name).is_dir():
            unwanted = shutil.ignore_patterns(".*", "__pycache__")
            shutil.copytree(ROOT / name, source / name, ignore=unwanted)
        else:
            shutil.copy(ROOT / name, source)
    program = Path(sys.executable).with_name("jupyter-book")
    build = [program, "build", source, "--path-output", work, "-W", "-n", "--keep-going"]
    environment = os.environ | PUBLISHED
    done = subprocess.run(build, env=environment, cwd=work, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return work / "_build/html"


@pytest.fixture(scope="session")
def site(html: Path) -> Iterator[str]:
    """The address under which the pages are served."""

    class Silent(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Silent, directory=html)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """Chromium without a window; tests that need it are skipped where it is not installed."""
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("chromium is not on PATH (Debian: apt-get install chromium)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=QUIET)
        yield browser
        browser.close()
