"""Does a container keep SageMaker's contract? Each rule is one clause that is tried on the image.

A clause is a function in one of the modules `image`, `training`, `hosting`, `batch`, `multi_model`
and `processing`; `subject` is what it looks at, `runner` tries all, `report` says what came out.
"""

from byoc.check.clause import CLAUSES, Clause, Kind, Level
from byoc.check.runner import Outcome, Report, Status, check
from byoc.check.subject import Payload, Settings

__all__ = [
    "CLAUSES",
    "Clause",
    "Kind",
    "Level",
    "Outcome",
    "Payload",
    "Report",
    "Settings",
    "Status",
    "check",
]
