"""Tables that are generated from the code: the local AWS's operations and its options.

```{operations}
```
```{options}
```
"""

from dataclasses import fields
from itertools import groupby
from operator import itemgetter

from sphinx.util.docutils import SphinxDirective

from byoc.local import operations
from byoc.local.options import Options


class Table(SphinxDirective):
    """A table in Markdown, read as if it stood on the page."""

    def run(self):
        return self.parse_text_to_nodes("\n".join(self.lines()))


class Operations(Table):
    """All operations, one table for each service: its name and what it does here."""

    def lines(self):
        for service, rows in groupby(operations.rows(), key=itemgetter(0)):
            yield from ("", "{.names}", f"| {service} | What it does here |", "|---|---|")
            for _, name, sentence in rows:
                yield f"| `{name}` | {sentence} |"


class Choices(Table):
    """The options of `byoc up` and LocalAWS."""

    def lines(self):
        yield from ("| Option | Default | Meaning |", "|---|---|---|")
        for option in fields(Options):
            known = option.default
            default = f"{known:g}" if isinstance(known, int | float) else known or "no limit"
            yield f"| `{option.name}` | {default} | {option.metadata['help']} |"


def setup(app):
    app.add_directive("operations", Operations)
    app.add_directive("options", Choices)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
