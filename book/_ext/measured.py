"""The goals of the page on performance, from the records of `make bench` in book/measured/.

```{goals}
```
"""

import json
from pathlib import Path

from tables import Table


def figure(value):
    """Three digits that count."""
    if value is None:
        return "none"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


class Goals(Table):
    """A line a goal: ours, the other's, their ratio and the limit; then what disturbed the run."""

    def lines(self):
        yield from ("| What | Ours | Against | Ratio | Goal |", "|---|---|---|---|---|")
        noise = []
        for path in sorted(Path(self.env.srcdir, "book/measured").glob("*.json")):
            self.env.note_dependency(path)
            record = json.loads(path.read_text(encoding="utf-8"))
            goals = record.get("goals")
            for one in goals if isinstance(goals, list) else ():
                yield self.row(one)
            noise += [f"- {path.stem}: {reason}" for reason in record.get("noisy", ())]
        if noise:
            yield from ("", "The machine was not quiet, so this run gives no verdict:", "", *noise)

    def row(self, goal):
        ours, other = goal["ours"], goal["other"]
        ratio = figure(ours / other) if ours is not None and other else "–"
        against = f"{goal['against']}: {figure(other)}" if goal["against"] else "–"
        sign = "≥" if goal["best"] == "at least" else "≤"
        return (
            f"| {goal['what']} | {figure(ours)} {goal['unit']} | {against} | {ratio} "
            f"| {sign} {figure(goal['limit'])} |"
        )


def setup(app):
    app.add_directive("goals", Goals)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
