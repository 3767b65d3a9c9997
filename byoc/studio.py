"""SageMaker Studio, where Docker is behind a proxy that allows less than a daemon of one's own.

Source: Developer Guide, studio-updated-local and studio-updated-local-get-started.
"""

import json
import os
from pathlib import Path

from byoc.errors import ByocError

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


def check_folder(folder: Path) -> None:
    """Raise ByocError for a folder that can't be mounted: only the space's own volume can."""
    home = Path.home().resolve()
    if not folder.resolve().is_relative_to(home):
        raise ByocError(
            f"{folder} can't be mounted in Studio, where only folders below {home} can: "
            "name one there (the local AWS's are below BYOC_HOME)."
        )
