"""Which slot of a model holds which tokens, so that a turn of a conversation reads only its news.

A chat client sends the whole conversation each time. The slot that answered the turn before still
holds keys and values of all but the newest message; what a new prompt has in common with it is
not computed again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count


@dataclass(frozen=True)
class Lease:
    """A slot given to one generation.

    Attributes:
        slot: of the model.
        cached: leading tokens of the prompt that it holds.
    """

    slot: int
    cached: int


class PrefixCache:
    """Lends slots.

    Args:
        slots: of the model.
    """

    def __init__(self, slots: int) -> None:
        self._held: list[list[int]] = [[] for _ in range(slots)]
        self._clock = count(1)
        self._used = [0] * slots
        self._free = set(range(slots))

    def acquire(self, prompt: Sequence[int]) -> Lease | None:
        """Lend a free slot.

        The one with the most to offer; but a slot that would lose more than it offers goes last,
        for another conversation may come back to it: then the slot unused for longest.

        Args:
            prompt: (n,) token ids.

        Returns:
            None if all slots are lent.
        """
        if not self._free:
            return None
        shared = {slot: common_prefix(self._held[slot], prompt) for slot in self._free}
        best = max(self._free, key=lambda slot: (shared[slot], -self._used[slot]))
        if 2 * shared[best] < len(self._held[best]):
            best = min(self._free, key=lambda slot: self._used[slot])
        self._free.remove(best)
        return Lease(best, shared[best])

    def release(self, slot: int, held: Sequence[int]) -> None:
        """Take a slot back.

        Args:
            slot: that was lent.
            held: tokens whose keys and values it holds now.
        """
        self._held[slot] = list(held)
        self._used[slot] = next(self._clock)
        self._free.add(slot)


def common_prefix(first: Sequence[int], second: Sequence[int]) -> int:
    """Count the leading tokens that two sequences share."""
    pairs = zip(first, second, strict=False)
    shortest = min(len(first), len(second))
    return next((i for i, (a, b) in enumerate(pairs) if a != b), shortest)
