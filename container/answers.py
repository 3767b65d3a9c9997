"""How an answer is written: the type that Accept asks for, and the text."""

import csv
import functools
import io
import json
import re

import numpy as np

CSV, JSON, LINES = TYPES = ("text/csv", "application/json", "application/jsonlines")
QUOTED = re.compile(r'[,"\r\n]')  # what makes csv.writer put a cell in quotes


@functools.lru_cache(maxsize=64)  # callers seldom change their mind
def negotiate(content_type: str, accept: str) -> tuple[str, str, bool]:
    """(the request's type, the answer's, verbose): of the types with the highest q the request's
    own, else the first.

    `verbose=true` is a parameter of a type: `application/json; verbose=true`. The answer's type is
    "" if no type will do.
    """
    default = content_type.partition(";")[0].strip().lower()
    ranges: dict[str, tuple[float, bool]] = {}
    for item in accept.lower().split(","):
        pattern, *parameters = (part.strip() for part in item.split(";"))
        given = dict(part.partition("=")[::2] for part in parameters)
        weight = given.get("q", "1")
        q = float(weight) if re.fullmatch(r"[01](\.[0-9]{0,3})?", weight) else 0.0
        ranges.setdefault(pattern, (q, given.get("verbose") == "true"))
    best = (0.0, "", False)
    for offer in (default, *TYPES):
        patterns = (offer, offer.split("/")[0] + "/*", "*/*")  # the closest one counts
        q, verbose = next((ranges[p] for p in patterns if p in ranges), (0.0, False))
        if q > best[0]:
            best = (q, offer, verbose)
    return default, best[1], best[2]


def render(
    labels: np.ndarray, probabilities: np.ndarray | None, classes: list[str], wanted: str
) -> str:
    """A label a row; or, where there are probabilities, with one for each class."""
    chances = [] if probabilities is None else probabilities.tolist()
    if wanted == CSV:
        if probabilities is None and (text := one_a_line(labels.tolist())):
            return text
        columns = [labels.tolist(), *zip(*chances, strict=True)]
        file = io.StringIO()
        csv.writer(file, lineterminator="\n").writerows(zip(*columns, strict=True))
        return file.getvalue()
    if wanted == JSON and probabilities is None:
        words = labels.tolist()
        quoted = {word: json.dumps(word) for word in set(words)}
        return '{"predictions": [' + ", ".join([quoted[word] for word in words]) + "]}"
    objects = [{"label": label} for label in labels.tolist()]
    for label, row in zip(objects, chances, strict=probabilities is not None):
        label["probabilities"] = dict(zip(classes, row, strict=True))
    if wanted == LINES:
        return "".join(json.dumps(label) + "\n" for label in objects)
    return json.dumps({"predictions": objects})


def one_a_line(labels: list[str]) -> str:
    """The labels as CSV, or "" if they are no text or one of them needs quotes."""
    plain = all(type(label) is str and label and not QUOTED.search(label) for label in set(labels))
    return "\n".join(labels) + "\n" if plain else ""


def labels(answer: str, kind: str) -> list[str]:
    """The labels of what `render` has written; a ValueError if it did not write this."""
    if kind == CSV:
        return [cells[0] for cells in csv.reader(io.StringIO(answer)) if cells]
    try:
        if kind == LINES:
            found = [json.loads(line) for line in answer.splitlines()]
        else:
            found = json.loads(answer)["predictions"]
        return [one["label"] if isinstance(one, dict) else str(one) for one in found]
    except (KeyError, TypeError) as error:
        raise ValueError(f"no answer of this server: {error}") from None
