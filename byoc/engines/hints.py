"""What the last words of a program that could not be started mean, and the cure."""

import re
from collections.abc import Sequence
from pathlib import Path

LAST = 5  # lines of a log that are looked at

CRLF = (
    "The program's first line ends as Windows ends lines (CRLF), so that its interpreter is not "
    "found: save the file with LF line ends (.gitattributes: `* text=auto eol=lf`) and build again."
)
WRONG_FORMAT = (
    "exec format error: the image, or a program in it, is for another processor than "
    "linux/amd64 (build with `--platform linux/amd64`), or the program has no `#!` line."
)


def explain(lines: Sequence[str]) -> str | None:
    """One sentence for the end of a log, if it is one of those that many ask about."""
    text = "\n".join(lines[-LAST:])
    # The kernel and runc name the program itself when it is the interpreter that is missing.
    if re.search(r"(\\r|\r|\^M)['’]?: (No such file|bad interpreter)", text) or re.search(
        r"^exec /\S+: no such file or directory$", text, re.MULTILINE
    ):
        return CRLF
    if re.search(r"exec format error", text, re.IGNORECASE):
        return WRONG_FORMAT
    return None


def windows_programs(folder: Path) -> list[str]:
    """The names of the folder's programs whose first line can't be followed on Linux."""
    found = []
    for file in sorted(folder.iterdir()):
        if file.is_file():
            with file.open("rb") as content:
                first = content.readline(256)
            if first.startswith(b"#!") and first.endswith(b"\r\n"):
                found.append(file.name)
    return found
