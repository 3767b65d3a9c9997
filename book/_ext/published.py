"""Where the book is published, told by two environment variables.

BOOK_URL         address of the rendered book: canonical links and a sitemap
BOOK_REPOSITORY  address on GitHub, GitLab or Bitbucket: the repository, edit and issue buttons;
                 GitHub Actions say it themselves, so a fork's book points at the fork

Without them the book has neither, and no address of somebody else's.
"""

import os


def repository(environ=os.environ):
    """The repository's address, or an empty string."""
    if environ.get("GITHUB_REPOSITORY"):
        on_github = f"{environ['GITHUB_SERVER_URL']}/{environ['GITHUB_REPOSITORY']}"
    else:
        on_github = ""
    return environ.get("BOOK_REPOSITORY", on_github).rstrip("/")


def configure(app, config):
    if address := repository():
        config.html_theme_options |= {
            "repository_url": address,
            "repository_branch": "main",
            "use_repository_button": True,
            "use_edit_page_button": True,
            "use_issues_button": True,
        }
    if address := os.environ.get("BOOK_URL"):
        config.html_baseurl = address.rstrip("/") + "/"
        config.sitemap_url_scheme = "{link}"


def setup(app):
    if os.environ.get("BOOK_URL"):
        app.setup_extension("sphinx_sitemap")
    app.connect("config-inited", configure, priority=100)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
