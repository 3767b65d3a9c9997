"""When a machine is too noisy for a verdict."""

from noise import Noise, Spread, reasons

QUIET = Spread.of([1.0, 1.01, 1.02, 1.0, 1.01])
LOUD = Spread.of([1.0, 1.5, 2.0, 1.2, 1.8])


def test_a_spread_of_repeats():
    spread = Spread.of([3.0, 1.0, 2.0, 5.0, 4.0])
    assert (spread.median, spread.low, spread.high, spread.repeats) == (3.0, 1.0, 5.0, 5)
    assert (spread.lower, spread.upper) == (2.0, 4.0)
    assert spread.relative == 2 / 3
    assert Spread.of([7.0]).relative == 0


def test_a_quiet_machine():
    assert reasons(0.01, QUIET, {"csv of ours": QUIET}) == []


def test_each_reason_names_what_varies():
    (busy,) = reasons(0.4, QUIET, {})
    assert "40% of a processor" in busy
    (loop,) = reasons(0.0, LOUD, {})
    assert "fixed piece of work" in loop
    (repeat,) = reasons(0.0, QUIET, {"csv of ours": LOUD, "json of ours": QUIET})
    assert repeat.startswith("csv of ours: repeats vary by")


def test_the_fixed_work_is_timed_on_every_processor():
    noise = Noise()
    noise.listen()
    record = noise.record()
    assert record["loop"] > 0
    assert 0 <= record["busy"] <= 1
