"""Places for what may run at a time, given in the order in which they were asked for."""

import threading
from collections import deque


class Slots:
    """So many places; who finds none waits for the turn."""

    def __init__(self, count: int) -> None:
        self._changed = threading.Condition()
        self._free = count
        self._waiting: deque[Turn] = deque()

    def join(self) -> "Turn":
        """Stand at the end of the queue."""
        with self._changed:
            turn = Turn(self)
            self._waiting.append(turn)
            return turn


class Turn:
    """One place in the queue, then one of the places."""

    def __init__(self, slots: Slots) -> None:
        self._slots = slots
        self._taken = self._cancelled = False

    def wait(self) -> bool:
        """Wait until a place is free and it is our turn; False when cancelled meanwhile."""
        slots = self._slots
        with slots._changed:
            slots._changed.wait_for(
                lambda: self._cancelled or (slots._free > 0 and slots._waiting[0] is self)
            )
            slots._waiting.remove(self)
            if not self._cancelled:
                slots._free -= 1
                self._taken = True
            slots._changed.notify_all()
            return self._taken

    def cancel(self) -> None:
        """Wait no longer; does nothing once the place is taken."""
        with self._slots._changed:
            self._cancelled = True
            self._slots._changed.notify_all()

    def leave(self) -> None:
        """Give the place back."""
        with self._slots._changed:
            if self._taken:
                self._taken = False
                self._slots._free += 1
                self._slots._changed.notify_all()
