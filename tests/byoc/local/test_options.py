"""Options as `byoc up --option NAME=VALUE` gives them."""

import pytest

from byoc import ByocError
from byoc.local import Options


def test_what_is_not_chosen_keeps_its_default():
    chosen = Options.parse(["parallel_jobs=2", "memory=1.5"])
    assert (chosen.parallel_jobs, chosen.memory) == (2, 1.5)
    assert Options.parse(["iam=enforce"]).iam == "enforce"
    assert chosen.startup_timeout == Options().startup_timeout
    assert Options.parse([]) == Options()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("jobs=2", "There is no option 'jobs': it must be one of startup_timeout, "),
        ("parallel_jobs=many", "parallel_jobs is 'many': it must be a whole number above 0"),
        ("parallel_jobs=1.5", "must be a whole number above 0"),
        ("parallel_jobs=0", "must be a whole number above 0"),
        ("memory=-1", "memory is '-1': it must be a number above 0"),
        ("memory=nan", "must be a number above 0"),
        ("memory", "memory is '': it must be a number above 0"),
        ("iam=on", "iam is 'on': it must be one of off, record, enforce"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(text, said):
    with pytest.raises(ByocError) as caught:
        Options.parse([text])
    assert said in str(caught.value)
