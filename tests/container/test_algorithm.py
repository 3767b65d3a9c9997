"""scikit-learn's own predict is the oracle for the exported tree."""

import json
import pickle

import algorithm
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as some
from sklearn.tree import DecisionTreeClassifier

SETTINGS = {"max_depth": None, "min_samples_leaf": 1, "criterion": "gini", "seed": 0, "trees": 1}
NUMBERS = st.one_of(st.integers(-3, 3).map(float), st.floats(-(2.0**127), 2.0**127, width=32))


@pytest.mark.filterwarnings("ignore:invalid value")  # scikit-learn's own, of huge numbers
@given(data=st.data(), features=some.arrays(np.float32, (25, 3), elements=NUMBERS))
def test_predicts_exactly_as_scikit_learn(data, features):
    labels = np.array(data.draw(st.lists(st.sampled_from("abc"), min_size=25, max_size=25)))
    depth = data.draw(st.sampled_from([1, 2, None]))
    unseen = data.draw(some.arrays(np.float32, (10, 3), elements=NUMBERS))
    model = algorithm.fit(features, labels, {**SETTINGS, "max_depth": depth})
    oracle = DecisionTreeClassifier(max_depth=depth, random_state=0).fit(features, labels)
    # At a threshold itself, rounded to float32 either way, a slip in types would show.
    cuts = model.nodes["threshold"].astype(np.float32)[:, None].repeat(3, axis=1)
    for rows in (features, unseen, cuts, np.nextafter(cuts, np.float32(np.inf))):
        predicted = algorithm.predict(model, rows)
        probabilities = algorithm.predict_proba(model, rows)
        assert predicted.tolist() == oracle.predict(rows).tolist()
        assert probabilities.tolist() == oracle.predict_proba(rows).tolist()


def grown(features, labels, settings):
    """A forest, step by step."""
    model = None
    for _ in range(settings["trees"]):
        model = algorithm.fit(features, labels, settings, model)
    return model


def test_a_forest_is_the_mean_of_its_trees(penguins):
    features = np.array([row[:4] for row in penguins], np.float32)
    labels = np.array([row[4] for row in penguins])
    model = grown(features, labels, SETTINGS | {"trees": 5, "max_depth": 3})
    chances, random = np.zeros((len(labels), 3)), np.random.default_rng
    for number in range(5):
        own = random([0, number])
        tree = DecisionTreeClassifier(max_depth=3, random_state=int(own.integers(2**32)))
        drawn = own.integers(len(labels), size=len(labels))
        tree.fit(features, labels, sample_weight=np.bincount(drawn, minlength=len(labels)))
        chances += tree.predict_proba(features)
    assert len(model.roots) == 5
    assert algorithm.predict_proba(model, features).tolist() == (chances / 5).tolist()
    expected = model.classes[chances.argmax(axis=1)].tolist()
    assert algorithm.predict(model, features).tolist() == expected
    assert [algorithm.predict_one(model, row) for row in features[:20].tolist()] == expected[:20]


def test_a_forest_comes_back_from_its_file(tmp_path, penguins):
    features = np.array([row[:4] for row in penguins], np.float32)
    labels = np.array([row[4] for row in penguins])
    model = grown(features, labels, SETTINGS | {"trees": 3})
    metadata = {"feature_names": list("abcd"), "classes": model.classes.tolist()}
    (tmp_path / "metadata.json").write_text(json.dumps(metadata))
    algorithm.save(model, tmp_path)
    loaded = algorithm.load(tmp_path)
    assert loaded.roots == model.roots
    assert (
        algorithm.predict_proba(loaded, features).tolist()
        == algorithm.predict_proba(model, features).tolist()
    )


def test_models_of_different_classes_are_joined():
    features = np.array([[0], [1], [2], [3]], np.float32)
    first = algorithm.fit(features, np.array(["a", "a", "c", "c"]), SETTINGS)
    second = algorithm.fit(features, np.array(["b", "b", "c", "c"]), SETTINGS)
    only = algorithm.fit(features, np.array(["d", "d", "d", "d"]), SETTINGS)
    model = algorithm.join([first, second, only])
    assert model.classes.tolist() == ["a", "b", "c", "d"]
    assert algorithm.predict_proba(model, features[[0, 3]]).tolist() == [
        [1 / 3, 1 / 3, 0, 1 / 3],
        [0, 0, 2 / 3, 1 / 3],
    ]


@pytest.fixture
def saved(tmp_path, penguins):
    """A folder with a model, and the model."""
    features = np.array([row[:4] for row in penguins], np.float32)
    model = algorithm.fit(features, np.array([row[4] for row in penguins]), SETTINGS)
    metadata = {"feature_names": list("abcd"), "classes": model.classes.tolist()}
    (tmp_path / "metadata.json").write_text(json.dumps(metadata))
    algorithm.save(model, tmp_path)
    return tmp_path, model


def test_what_is_loaded_is_what_was_saved(saved):
    folder, model = saved
    loaded = algorithm.load(folder)
    assert loaded.nodes.tobytes() == model.nodes.tobytes()
    assert loaded.classes.tolist() == ["Adelie", "Chinstrap", "Gentoo"]


def forge(field, node, value):
    def change(nodes):
        nodes[field][node] = value
        return nodes

    return change


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (forge("left", 0, 0), "left child"),  # a loop
        (forge("right", 2, 1), "right child"),
        (forge("left", 0, 10_000), "left child"),
        (forge("right", 0, -1), "right child"),
        (forge("feature", 0, 4), "feature"),
        (forge("feature", 0, -2), "feature"),
        (forge("threshold", 0, np.nan), "not finite"),
        (forge("threshold", 0, np.inf), "not finite"),
        (forge("probabilities", 1, np.nan), "not finite"),
        (forge("probabilities", 1, 0.5), "add up to 1"),
        (forge("probabilities", 1, [2, -1, 0]), "add up to 1"),
        (lambda nodes: nodes[:0], "at least one node"),
        (lambda nodes: nodes[None], "list of at least one node"),
        (lambda nodes: nodes[0], "list of at least one node"),
        (lambda nodes: np.zeros(5), "does not hold the nodes"),
        (lambda nodes: nodes[["feature", "threshold", "left", "right"]], "does not hold the nodes"),
    ],
)
def test_a_forged_file_is_refused(saved, change, complaint):
    folder, model = saved
    np.save(folder / "tree.npy", change(model.nodes.copy()))
    with pytest.raises(ValueError, match=complaint):
        algorithm.load(folder)


def test_a_pickle_is_not_run(saved, tmp_path):
    class Attack:
        def __reduce__(self):
            return (open, (str(tmp_path / "attacked"), "w"))

    folder, _ = saved
    for content in (pickle.dumps(Attack()), np.array([Attack()], object)):
        with (folder / "tree.npy").open("wb") as file:
            file.write(content) if isinstance(content, bytes) else np.save(file, content)
        with pytest.raises(ValueError, match="pickle"):
            algorithm.load(folder)
    assert not (tmp_path / "attacked").exists()


def test_a_cut_or_packed_file_is_refused(saved):
    folder, model = saved
    path = folder / "tree.npy"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ValueError, match=r"reshape|read"):
        algorithm.load(folder)
    with path.open("wb") as file:
        np.savez(file, nodes=model.nodes)
    with pytest.raises(ValueError, match="does not hold the nodes"):
        algorithm.load(folder)
