"""SageMaker Studio, where Docker is behind a proxy that allows less than a daemon of one's own.

Source: Developer Guide, studio-updated-local and studio-updated-local-get-started.
"""

import json
import os
from pathlib import Path

from byoc.errors import ByocError
from byoc.paths import home

PROXY = "unix:///docker/proxy.sock"
METADATA = Path("/opt/ml/metadata/resource-metadata.json")
NETWORK = "sagemaker"  # the only network for builds and containers


def in_studio() -> bool:
    """Whether this is an application of Studio; notebook instances have a whole Docker daemon."""
    if os.environ.get("DOCKER_HOST") == PROXY:
        return True
    try:
        return "DomainId" in json.loads(METADATA.read_text())
    except (OSError, ValueError, TypeError):
        return False


def scratch() -> Path | None:
    """Where temporary folders for containers must lie; None: anywhere."""
    if not in_studio():
        return None
    folder = home() / "tmp"
    folder.mkdir(exist_ok=True)
    return folder


def check_folder(folder: Path) -> None:
    """Raise ByocError for a folder that can't be mounted: only the space's own volume can."""
    space = Path.home().resolve()
    if not folder.resolve().is_relative_to(space):
        raise ByocError(
            f"{folder} can't be mounted in Studio, where only folders below {space} can: "
            "name one there (the local AWS's are below BYOC_HOME)."
        )
