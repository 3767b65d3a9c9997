"""Places given in the order in which they were asked for."""

import threading

from byoc.local.slots import Slots


def test_turns_come_in_order_whoever_waits_first(until):
    slots, order = Slots(1), []
    first = slots.join()
    assert first.wait()
    turns = [slots.join() for _ in range(5)]

    def use(number):
        if turns[number].wait():
            order.append(number)
            turns[number].leave()

    threads = [threading.Thread(target=use, args=(n,)) for n in reversed(range(5))]
    for thread in threads:
        thread.start()
    first.leave()
    for thread in threads:
        thread.join()
    assert order == [0, 1, 2, 3, 4]


def test_who_is_cancelled_lets_the_next_one_in():
    slots = Slots(1)
    first, second, third = slots.join(), slots.join(), slots.join()
    assert first.wait()
    second.cancel()
    assert not second.wait()
    first.leave()
    first.leave()  # gives back one place, not two
    assert third.wait()
    third.cancel()  # it has its place already
    fourth = slots.join()
    fourth.cancel()
    assert not fourth.wait()
