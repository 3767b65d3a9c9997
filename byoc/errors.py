"""The one exception of this package: a sentence for the person who sees it."""


class ByocError(Exception):
    """What was wrong, where, and what to do, in one sentence.

    Notebooks show the sentence alone: IPython asks an exception for `_render_traceback_`.
    """

    def _render_traceback_(self) -> list[str]:
        return [str(self)]
