"""The book as its readers see it. The fixture `html` fails when the build gives a warning."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from urllib.parse import urlsplit
from xml.etree import ElementTree

import pytest
import yaml
from bs4 import BeautifulSoup
from playwright.sync_api import Browser, Page

from byoc.check import CLAUSES
from byoc.check.command import check
from byoc.local import Options, operations

ROOT = Path(__file__).parents[2]
SVG = "{http://www.w3.org/2000/svg}"
LANDING = "/book/index.html"
LANDING_SOURCE = ROOT / "book/index.md"
SETUP = "/book/setup.html"
NOTEBOOK = "/notebooks/01-container-contract.html"
FIGURES = sorted((ROOT / "book").rglob("*.svg"))
KNOWN_ERROR = "THEBE_JS_URL"  # sphinx-book-theme 1.2.0 declares it twice on every page


def entries() -> list[str]:
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text())
    return [toc["root"], *(c["file"] for part in toc["parts"] for c in part["chapters"])]


@contextmanager
def opened(browser: Browser, address: str, theme: str, width: int) -> Iterator[Page]:
    """The page in a theme and a width; fails if it asks another machine or logs an error."""
    context = browser.new_context(viewport={"width": width, "height": 900})
    context.add_init_script(
        f"localStorage.setItem('mode', '{theme}'); localStorage.setItem('theme', '{theme}')"
    )
    left: list[str] = []
    errors: list[str] = []

    def guard(route):
        if urlsplit(route.request.url).hostname == "127.0.0.1":
            # Not continue_(): a container's network coming or going makes Chromium drop requests.
            route.fulfill(response=route.fetch())
        else:
            left.append(route.request.url)
            route.abort()

    context.route("**/*", guard)
    page = context.new_page()
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda m: errors.append(m.text) if m.type == "error" else None)
    page.goto(address, wait_until="networkidle")
    try:
        yield page
    finally:
        context.close()
    assert left == []
    assert [error for error in errors if KNOWN_ERROR not in error] == []


@pytest.mark.parametrize("entry", entries())
def test_each_entry_of_the_contents_is_a_file(entry):
    assert any((ROOT / f"{entry}{suffix}").is_file() for suffix in (".md", ".ipynb"))


def test_each_notebook_and_page_is_in_the_contents():
    files = [*(ROOT / "notebooks").glob("*.ipynb"), *(ROOT / "book").glob("*.md")]
    assert {str(f.relative_to(ROOT).with_suffix("")) for f in files} == set(entries())


def test_the_landing_page_gives_the_times_of_the_notebooks():
    rows = re.findall(r"notebooks/(\S+?\.ipynb)\).*\| (\d+)\smin \|", LANDING_SOURCE.read_text())
    said = {
        path.name: re.search(r"⏱ (\d+) minutes", path.read_text())[1]
        for path in (ROOT / "notebooks").glob("*.ipynb")
    }
    assert dict(rows) == said


@pytest.mark.parametrize("path", FIGURES, ids=lambda path: path.stem)
def test_a_drawing_says_what_it_shows(path):
    drawing = ElementTree.parse(path).getroot()
    names = drawing.attrib["aria-labelledby"].split()
    described = {e.attrib["id"]: e.text for e in drawing if e.tag in (f"{SVG}title", f"{SVG}desc")}
    assert drawing.attrib["role"] == "img"
    assert [bool(described[name].strip()) for name in names] == [True, True]


def test_every_image_has_an_alternative_text(html):
    bare = []
    for entry in entries():
        page = BeautifulSoup((html / f"{entry}.html").read_text(), "html.parser")
        for image in page.select("article img"):
            alt = image.get("alt", "").strip()
            if len(alt) < 10 or Path(image["src"]).name in alt:
                bare.append((entry, image["src"], alt))
    assert bare == []


def test_the_page_of_the_local_aws_shows_all_operations_and_options(html):
    page = BeautifulSoup((html / "book/local-aws.html").read_text(), "html.parser")
    shown = [
        [" ".join(cell.get_text().split()) for cell in row.select("td")]
        for row in page.select("article table tr")
    ]
    for _, name, sentence in operations.rows():
        assert [name, smart(sentence)] in shown
    for option in fields(Options):
        assert any(row[0] == option.name and len(row) == 3 for row in shown if row), option.name


def test_the_page_of_the_contract_shows_every_clause_under_its_id(html):
    page = BeautifulSoup((html / "book/contract.html").read_text(), "html.parser")
    for one in CLAUSES:
        entry = page.find(id=one.id)
        entry = entry if entry.name == "dl" else entry.find_next("dl")
        assert entry.select_one("dt code").get_text() == one.id
        assert smart(one.sentence) in " ".join(entry.get_text().split()), one.id


def test_the_page_of_the_contract_links_its_sources(html):
    page = BeautifulSoup((html / "book/contract.html").read_text(), "html.parser")
    links = {a["href"] for a in page.select("article a[href]")}
    guide = "https://docs.aws.amazon.com/sagemaker/latest/dg"
    assert f"{guide}/your-algorithms-inference-code.html" in links
    assert "https://github.com/aws/amazon-sagemaker-examples/issues/815" in links


def test_the_page_of_the_contract_shows_every_option(html):
    page = BeautifulSoup((html / "book/contract.html").read_text(), "html.parser")
    shown = {
        row.select_one("code").get_text().split()[0]
        for row in page.select("td:first-child")
        if row.select_one("code")
    }
    assert {p.opts[-1] for p in check.params if p.param_type_name == "option"} <= shown


def smart(sentence):
    """As it is rendered: code without its marks, curly apostrophes."""
    return sentence.replace("`", "").replace("'", "’")


def test_addresses_come_from_one_place(html, published):
    page = BeautifulSoup((html / "book/index.html").read_text(), "html.parser")
    links = {a["href"] for a in page.select("a[href]")}
    canonical = page.select_one("link[rel=canonical]")["href"]
    assert canonical == f"{published['BOOK_URL']}{LANDING}"
    assert f"{published['BOOK_REPOSITORY']}/edit/main/book/index.md" in links
    assert canonical in (html / "sitemap.xml").read_text()


def test_the_front_page_leads_to_the_landing_page(html):
    assert re.search(r"url=book/index\.html", (html / "index.html").read_text())


def test_the_pages_name_no_other_host_for_their_parts(html):
    for entry in entries():
        page = BeautifulSoup((html / f"{entry}.html").read_text(), "html.parser")
        parts = page.select("script[src], img[src], link[rel=stylesheet], link[rel=preload]")
        sources = [part.get("src") or part.get("href") for part in parts]
        assert [s for s in sources if urlsplit(s).netloc] == [], entry


@pytest.mark.parametrize("address", [LANDING, NOTEBOOK])
@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_a_page_fits_and_stays_on_this_machine(chromium, site, address, theme, width):
    with opened(chromium, site + address, theme, width) as page:
        assert page.get_attribute("html", "data-theme") == theme
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.locator("article h1").is_visible()


@pytest.mark.parametrize(
    "address",
    [
        SETUP,
        "/book/contract.html",
        "/book/environment-variables.html",
        "/book/local-aws.html",
    ],
)
def test_wide_tables_scroll_inside_a_narrow_page(chromium, site, address):
    with opened(chromium, site + address, "light", 390) as page:
        assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_tabs_switch(chromium, site):
    with opened(chromium, site + SETUP, "light", 1280) as page:
        here, studio = page.get_by_text("make lab").first, page.get_by_text("EnableDockerAccess")
        assert here.is_visible()
        assert not studio.first.is_visible()
        page.locator("label.sd-tab-label", has_text="SageMaker Studio").click()
        assert studio.first.is_visible()
        assert not here.is_visible()


def test_figures_are_the_same_in_both_themes(chromium, site):
    with opened(chromium, site + LANDING, "dark", 1280) as page:
        figure = page.locator("figure img").first
        assert figure.evaluate("image => getComputedStyle(image).filter") == "none"
        assert figure.evaluate("image => image.naturalWidth") > 0
