"""Where this package keeps things between two calls."""

import os
from pathlib import Path

import platformdirs


def home() -> Path:
    """The local AWS and built images: `$BYOC_HOME`, else the user's state folder."""
    return _folder("BYOC_HOME", platformdirs.user_state_path("byoc"))


def cache() -> Path:
    """The containers' Python environments: `$BYOC_CACHE`, else the user's cache folder."""
    return _folder("BYOC_CACHE", platformdirs.user_cache_path("byoc"))


def _folder(variable: str, default: Path) -> Path:
    path = Path(os.environ.get(variable) or default).expanduser().absolute()
    path.mkdir(parents=True, exist_ok=True)
    return path
