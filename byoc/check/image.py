"""The image itself, before anything of it runs."""

from byoc.check.clause import Broken, Kind, Level, clause
from byoc.check.subject import Subject

GROUP = "The image"
PULLED = "API ContainerDefinition; Developer Guide, your-algorithms-inference-code"


@clause(
    "image-size",
    Kind.IMAGE,
    GROUP,
    Level.SHOULD,
    on_aws="A serverless endpoint refuses the image; elsewhere each start waits for the pull.",
    fix="Leave build tools, tests and caches out: a multi-stage build.",
    source="Developer Guide, serverless-endpoints",
)
def size(subject: Subject) -> None:
    """The image is smaller than 10 GB, the most that serverless inference takes."""
    if subject.image.size > 10 * 10**9:
        raise Broken("the image's size was read", f"{subject.image.size:,} bytes")
