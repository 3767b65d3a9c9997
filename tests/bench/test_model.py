"""What servers are given and what their answers are held against."""

import algorithm
import model
import numpy as np
import pytest
from rivals import RIVALS

from byoc.errors import ByocError


def test_a_right_answer_in_any_form():
    model.check(b'{"predictions": ["Adelie", "Gentoo"]}', ["Adelie", "Gentoo"])
    model.check(b"Adelie\nGentoo\n", ["Adelie", "Gentoo"])


@pytest.mark.parametrize("answer", [b"Gentoo\nAdelie\n", b"Adelie\n", b"[0, 2]", b""])
def test_a_wrong_answer(answer):
    with pytest.raises(ByocError, match="A wrong answer"):
        model.check(answer, ["Adelie", "Gentoo"])


@pytest.mark.parametrize("nodes", [11, 1001])
def test_a_synthetic_tree_is_one_that_our_server_loads(tmp_path, nodes):
    tree = algorithm.load(model.synthetic(tmp_path / "model", nodes))
    labels = algorithm.predict(tree, np.array(model.many(500), np.float32))
    assert len(tree.nodes) == nodes
    assert len(set(labels)) > 1


def test_every_rival_can_be_asked():
    names = [rival.name for rival in RIVALS]
    assert len(set(names)) == len(names)
    for rival in RIVALS:
        assert rival.csv or rival.json, rival.name
        assert (rival.folder / "Dockerfile").is_file(), rival.name
