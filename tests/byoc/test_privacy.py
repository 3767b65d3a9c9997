"""Pseudonyms, classes, attacks. Each control has a mutation: without it an attack must succeed."""

import hashlib
import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from palmerpenguins import load_penguins_raw

from byoc import privacy

KEY = bytes(range(32))
QUASI = ["place", "sex"]
TABLE = [
    {"place": "A", "sex": "f", "ill": "yes"},
    {"place": "A", "sex": "f", "ill": "yes"},
    {"place": "A", "sex": "m", "ill": "no"},
    {"place": "B", "sex": "m", "ill": "yes"},
    {"place": "B", "sex": "m", "ill": "no"},
    {"place": "B", "sex": "m", "ill": "no"},
]
MEASURES = ["Culmen Length (mm)", "Culmen Depth (mm)", "Flipper Length (mm)", "Body Mass (g)"]


@pytest.fixture(scope="module")
def birds():
    return load_penguins_raw().dropna(subset=MEASURES).fillna("").to_dict("records")


# --- pseudonyms


def broken(pseudonym):
    """How many of N1A1 … N100A2 somebody finds who tries them all and has no key."""
    identifiers = [f"N{nest}A{bird}" for nest in range(1, 101) for bird in (1, 2)]
    table = {pseudonym(one) for one in identifiers}
    guesses = {hashlib.sha256(one.encode()).hexdigest()[: privacy.SHOWN] for one in identifiers}
    guesses |= {privacy.pseudonym(bytes(32), one) for one in identifiers}
    return len(table & guesses)


def test_a_pseudonym_can_not_be_tried_out_without_the_key():
    assert broken(lambda one: privacy.pseudonym(KEY, one)) == 0


def test_mutation_an_unkeyed_hash_is_broken_whole():
    assert broken(lambda one: hashlib.sha256(one.encode()).hexdigest()[: privacy.SHOWN]) == 200


def test_a_pseudonym_is_that_of_rfc_2104():
    """Against the openssl that Python's hmac does not share code with: a fixed answer.

    printf '["N1A1"]' | openssl dgst -sha256 -mac HMAC -macopt hexkey:000102…1f
    """
    expected = "b8154c12b951fd70e0d72576794d7cf2a2ba804a97b479bff79b1bb095c3c69c"
    assert privacy.pseudonym(KEY, "N1A1") == expected[: privacy.SHOWN]


def test_the_same_key_and_identifiers_give_the_same_pseudonym_and_others_another():
    first = privacy.pseudonym(KEY, "N1A1", 2007)
    assert first == privacy.pseudonym(KEY, "N1A1", "2007")
    assert first != privacy.pseudonym(bytes(32), "N1A1", 2007)
    assert first != privacy.pseudonym(KEY, "N1A12007")
    assert privacy.pseudonym(KEY, "1", "23") != privacy.pseudonym(KEY, "12", "3")


@pytest.mark.parametrize("key", [b"", b"penguins", bytes(31)])
def test_a_short_key_is_refused(key):
    with pytest.raises(ValueError, match=rf"The key has {len(key)} bytes: it must have at least"):
        privacy.pseudonym(key, "N1A1")


def test_a_pseudonym_of_nothing_is_refused():
    with pytest.raises(ValueError, match="nothing to make a pseudonym of"):
        privacy.pseudonym(KEY)


# --- classes


def test_k_and_l_of_a_small_table():
    assert privacy.k_anonymity(TABLE, QUASI) == 1
    assert privacy.l_diversity(TABLE, QUASI, "ill") == 1
    assert privacy.k_anonymity(TABLE, ["place"]) == 3
    assert privacy.l_diversity(TABLE, ["place"], "ill") == 2
    assert privacy.k_anonymity(TABLE, []) == 6
    assert privacy.alone(TABLE, QUASI) == [TABLE[2]]
    assert privacy.exposed(TABLE, QUASI, "ill") == TABLE[:3]


def test_an_empty_table_or_a_column_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match="no rows"):
        privacy.k_anonymity([], QUASI)
    with pytest.raises(ValueError, match=r"no column 'age': the table has place, sex, ill\."):
        privacy.k_anonymity(TABLE, ["age"])


def test_the_penguins_as_they_come(birds):
    quasi = ["Species", "Island", "Sex", "Date Egg"]
    assert privacy.k_anonymity(birds, quasi) == 1
    assert privacy.l_diversity(birds, quasi, "Clutch Completion") == 1
    assert len(privacy.alone(birds, MEASURES)) == len(birds) == 342


# --- generalisation and suppression


@pytest.mark.parametrize(
    ("value", "width", "middle"),
    [(39.1, 5, 37.5), (40.0, 5, 42.5), (39.9, 5, 37.5), (3750, 500, 3750), (0.3, 0.1, 0.35)],
)
def test_the_middle_of_an_interval(value, width, middle):
    assert privacy.interval(value, width) == middle


@pytest.mark.parametrize(("value", "width"), [(1.0, 0), (1.0, -1), (float("nan"), 1)])
def test_no_interval(value, width):
    with pytest.raises(ValueError, match="An interval of width"):
        privacy.interval(value, width)


@given(value=st.floats(0, 1e6), width=st.sampled_from([0.1, 1, 2.5, 5, 20, 1500]))
def test_a_value_lies_in_its_interval(value, width):
    middle = privacy.interval(value, width)
    assert abs(value - middle) <= width / 2 * (1 + 1e-9)
    assert privacy.interval(middle, width) == middle


rows = st.lists(st.fixed_dictionaries({"a": st.integers(0, 3), "b": st.integers(0, 3)}), min_size=1)


@given(rows=rows, k=st.integers(1, 5))
def test_what_is_kept_is_k_anonymous_and_nothing_else_goes(rows, k):
    kept = privacy.suppress(rows, ["a", "b"], k)
    if kept:
        assert privacy.k_anonymity(kept, ["a", "b"]) >= k
    found = privacy.classes(rows, ["a", "b"]).values()
    assert len(kept) == sum(len(members) for members in found if len(members) >= k)


@given(rows=rows)
def test_the_order_of_the_rows_says_nothing(rows):
    shuffled = random.Random(0).sample(rows, len(rows))
    assert privacy.suppress(rows, ["a", "b"], 1) == privacy.suppress(shuffled, ["a", "b"], 1)


# --- linkage


WIDTHS = dict(zip(MEASURES, (5, 5, 20, 1500), strict=True))


def found(birds, generalise, suppress):
    """How many birds are found again in a release by somebody who measures them."""
    released = privacy.generalise(birds, WIDTHS) if generalise else birds
    known = released if generalise else birds  # the attacker rounds as the release does
    if suppress:
        released = privacy.suppress(released, MEASURES, 5)
    return len(privacy.link(known, released, MEASURES))


def test_nobody_is_found_after_the_cure(birds):
    assert found(birds, generalise=True, suppress=True) == 0


def test_mutation_without_generalising_everybody_is_found(birds):
    assert found(birds, generalise=False, suppress=False) == len(birds)


def test_mutation_without_suppression_some_are_found(birds):
    assert found(birds, generalise=True, suppress=False) > 0


def test_a_match_that_is_not_alone_is_no_match():
    known = [{"place": "A"}, {"place": "B"}, {"place": "C"}]
    released = [{"place": "A"}, {"place": "B"}, {"place": "B"}]
    assert privacy.link(known, released, ["place"]) == [({"place": "A"}, {"place": "A"})]
    assert privacy.link([known[0], known[0]], released, ["place"]) == []


def test_rows_that_csv_and_json_give_are_alike(birds):
    again = json.loads(json.dumps(birds))
    assert privacy.classes(again, MEASURES).keys() == privacy.classes(birds, MEASURES).keys()
