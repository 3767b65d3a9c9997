"""An AWS on this machine: our SageMaker, which really runs containers, in front of moto."""

from byoc.local.embedded import LocalAWS
from byoc.local.options import Options

__all__ = ["LocalAWS", "Options"]
