"""The buffers between a core and its flash, as the compiled hook keeps them.

Modelled are the last word of flash that was executed, caches of code and of data that give up what
was used least recently, and a prefetch: the word that follows is read while one is executed, which
takes a cycle for four bytes of instructions at least. Reads of code and of data do not get in each
other's way, as on the ICode and DCode buses of Cortex-M3 and M4.
"""

from __future__ import annotations

import numpy as np

from boards.board import FlashAccess
from runtimes.emulator.native import State

_EMPTY = 0xFFFF_FFFF
_BYTES_PER_CYCLE = 4


class FlashBuffers:
    """The content of a board's caches; must live as long as the state it is attached to."""

    def __init__(self, access: FlashAccess) -> None:
        self._access = access
        self._code = np.full(max(access.code_words, 1), _EMPTY, np.uint32)
        self._data = np.full(max(access.data_words, 1), _EMPTY, np.uint32)

    def attach(self, state: State) -> None:
        """Let the hook use these buffers, empty."""
        access = self._access
        state.code_words, state.data_words = self._code.ctypes.data, self._data.ctypes.data
        state.code_cached, state.data_cached = access.code_words, access.data_words
        state.wait_states = access.wait_states
        state.hidden = access.word // _BYTES_PER_CYCLE if access.prefetch else 0
        state.word_shift, state.word_last = access.word.bit_length() - 1, _EMPTY
