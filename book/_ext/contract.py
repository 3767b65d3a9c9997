"""The page on the contract, generated from the clauses and from the command that tries them.

```{clauses} training
```
```{clause-code} image-size
```
```{check-options}
```
"""

import inspect
import re
from itertools import groupby
from operator import attrgetter

from tables import Table

from byoc.check import runner
from byoc.check.command import check
from byoc.check.subject import Settings

GUIDE = "https://docs.aws.amazon.com/sagemaker/latest/dg/{}.html"
ISSUE = "https://github.com/{}/issues/{}"
# What Markdown would read as its own, and what the step that curls quotes does not leave alone.
PLAIN = {ord(c): f"\\{c}" for c in "*_[]<>{}$|"} | {ord("\\"): "\\" * 4, ord('"'): '\\\\"'}


def markdown(text):
    """Text as it stands, but for `code`."""
    parts = re.split(r"(`[^`]*`)", text)
    return "".join(p if p.startswith("`") else p.translate(PLAIN) for p in parts)


def sources(text):
    """The sources with links: pages of the Developer Guide, and issues on GitHub."""
    return "; ".join(map(linked, text.split("; ")))


def linked(source):
    title, comma, pages = source.partition(", ")
    if title == "Developer Guide":
        return f"{title}{comma}" + re.sub(
            r"[a-z0-9]+(-[a-z0-9]+)+", lambda page: f"[{page[0]}]({GUIDE.format(page[0])})", pages
        )
    repository = ""

    def issue(match):
        nonlocal repository
        repository = match[1] or repository
        return f"[{match[0]}]({ISSUE.format(repository, match[2])})" if repository else match[0]

    found = re.sub(r"([\w.-]+/[\w.-]+)?#(\d+)", issue, source)
    return found if found != source else markdown(source)


class Clauses(Table):
    """The clauses of one kind: a heading for each group, an anchor for each clause."""

    required_arguments = 1

    def lines(self):
        every = runner.select(Settings(kinds=frozenset([self.arguments[0]])))
        for group, clauses in groupby(every, key=attrgetter("group")):
            yield from ("", f"```{{rubric}} {group}", "```")
            for one in clauses:
                yield from (
                    "",
                    f"({one.id})=",
                    f"`{one.id}` · {one.level}",
                    f": {markdown(one.sentence)}",
                    "",
                    f"  *On AWS:* {markdown(one.on_aws)}\\",
                    f"  *Fix:* {markdown(one.fix)}\\",
                    f"  *Source:* {sources(one.source)}",
                )


class Code(Table):
    """The function that is one clause."""

    required_arguments = 1

    def lines(self):
        (one,) = runner.select(Settings(kinds=frozenset(runner.Kind)), only=self.arguments)
        yield from ("```python", *inspect.getsource(one.trial).splitlines(), "```")


class Choices(Table):
    """The options of `byoc check`."""

    def lines(self):
        yield from ("{.names}", "| Option | Meaning |", "|---|---|")
        for option in check.params:
            if option.param_type_name == "option":
                value = "" if option.is_flag else f" {option.make_metavar(self.context())}"
                shown = value.replace("|", "\\|")
                yield f"| `{option.opts[-1]}{shown}` | {markdown(option.help)} |"

    def context(self):
        return check.make_context("byoc check", ["--list"], resilient_parsing=True)


def setup(app):
    app.add_directive("clauses", Clauses)
    app.add_directive("clause-code", Code)
    app.add_directive("check-options", Choices)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
