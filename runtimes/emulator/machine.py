"""A Cortex-M with a board's exact memory map, run by Unicorn, counted by a compiled hook.

Flash may be read and executed, RAM read and written; the pages of the few peripheral registers
that the support code uses answer as plain memory, but for the UART and the tick counter. Any other
access is a fault that names the instruction, the function and the layer. Instructions, not cycles,
are counted: exactly, and the same in every run.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from boards import Board, Region
from boards.console import Console, console_of
from runtimes.emulator.flash import FlashBuffers
from runtimes.emulator.native import PAGE, Page, State, address_of, hook_library
from runtimes.emulator.symbols import Image, read_image
from runtimes.toolchains import Firmware
from toolchain.errors import ToolError

_ENTER_RUN, _IN_RUN, _ENTER_MARK = 1, 2, 3  # as in hook.c
_AT_RUN, _FIRST_LAYER = 2, 3
_NOWHERE = 0xFFFF_FFFF
_UART_BUFFER = 1 << 16
_SYSTEM_CONTROL = 0xE000_E000  # the page of CPACR, CCR and SysTick (Armv7-M ARM, B3.2)
_BREAKPOINT, _SEMIHOSTING = 7, 0xBEAB
_WRITE_TEXT, _EXIT = 0x04, 0x20
INSTRUCTION_LIMIT = 200_000_000_000


class Machine:
    """One emulated board with one firmware.

    Args:
        firmware: linked for ``board`` or for a board of the same map.
        board: whose memory map is enforced.
        limit: instructions that one `start`, `resume` or `call` may take.

    Raises:
        ToolError: E604 if Unicorn is not installed or has no such core.
    """

    def __init__(self, firmware: Firmware, board: Board, limit: int = INSTRUCTION_LIMIT) -> None:
        self.board, self.image = board, read_image(firmware.elf)
        self.exit_status: int | None = None
        self.text = ""
        self._limit = limit
        self._uc, self._lib = _engine(board)
        self._map(board)
        self._state = State()
        self._counting()
        self._peripherals(console_of(board))
        self._hooks()
        self._layer_names: tuple[str, ...] = ()

    def start(self) -> None:
        """Run from reset until the firmware waits for input or ends."""
        vectors = self.read(self.board.flash.start, 8)
        stack, reset = (int(v) for v in np.frombuffer(vectors, "<u4"))
        self._set("SP", stack)
        self._go(reset)

    def resume(self, data: bytes = b"") -> bytes:
        """Give ``data`` to the UART, run until the firmware waits again; return what it sent."""
        buffer = ctypes.create_string_buffer(data, max(len(data), 1))
        state, sent = self._state, b""
        state.incoming = ctypes.addressof(buffer)
        state.incoming_size, state.incoming_next = len(data), 0
        while True:
            state.polls = 0
            self._go(self._get("PC"))
            full = state.outgoing_next == _UART_BUFFER
            sent += self._sent()
            if state.incoming_next == state.incoming_size and not full:
                break
        state.incoming_size = state.incoming_next = 0
        return sent

    def call(self, name: str) -> int:
        """Call the C function ``void name(void)``; return the instructions it took."""
        before = self.instructions
        self._set("SP", self.image.symbols["__stack_top"])
        self._set("LR", self.image.symbols["tsr_halt"] | 1)
        self._go(self.image.symbols[name])
        return self.instructions - before

    def call_address(self, name: str) -> int:
        """Call the C function ``void *name(void)``; return what it returns."""
        self.call(name)
        return self._get("R0")

    def read(self, address: int, size: int) -> bytes:
        """Return memory."""
        return bytes(self._uc.mem_read(address, size))

    def write(self, address: int, data: bytes) -> None:
        """Set memory."""
        self._uc.mem_write(address, data)

    @property
    def instructions(self) -> int:
        """Return the instructions executed since the start."""
        return int(self._state.instructions)

    def watch(self, prefix: str, layers: Sequence[str]) -> None:
        """Count the layers of the network ``prefix`` from now on; ``layers`` are their names.

        A firmware that marks its layers (``TSR_PROFILE``) is counted layer by layer, without the
        marks; any other as a whole.
        """
        symbols = self.image.symbols
        entries = (f"{prefix}_{name}" for name in ("push_row", "run_from", "run"))
        address = next((symbols[name] for name in entries if name in symbols), 0)
        run = self.image.function_at(address & ~1)
        if run is None:
            raise ToolError("E603", f"the firmware holds no function {prefix}_run")
        self._marks[:] = 0
        first, size = self._halfword(run.address), max(run.size // 2, 1)
        self._marks[first : first + size] = _IN_RUN
        self._marks[first] = _ENTER_RUN
        if mark := symbols.get("tsr_mark"):
            self._marks[self._halfword(mark & ~1)] = _ENTER_MARK
        self._layer_names = tuple(layers)
        self._places(_FIRST_LAYER + len(layers))

    def clear_counts(self) -> None:
        """Set the counts of layers and of program addresses to zero."""
        for counters in (self._counts, self._runs, self._taken, self._waits):
            counters[:] = 0

    def watch_stack(self) -> None:
        """From now on, keep the lowest stack pointer of each layer: takes about twice the time."""
        self._deepest[:] = _NOWHERE
        self._state.deepest = self._deepest.ctypes.data

    def watch_flash(self) -> None:
        """From now on, count the cycles for which the core waits for its flash.

        Does nothing on boards whose `FlashAccess` is not known.
        """
        from unicorn import UC_HOOK_MEM_READ

        if self.board.flash_access is None:
            return
        self._buffers = FlashBuffers(self.board.flash_access)
        self._buffers.attach(self._state)
        self._state.waits = self._waits.ctypes.data
        flash = self.board.flash
        self._hook(UC_HOOK_MEM_READ, "on_flash_read", flash.start, flash.end - 1)
        self._uc.ctl_flush_tb()  # what was translated before calls no hook

    @property
    def flash_waits(self) -> tuple[int, tuple[int, ...]] | None:
        """Return the waits of ``<prefix>_run`` itself and of each layer, in cycles."""
        if not self._state.waits:
            return None
        layers = self._waits[_FIRST_LAYER : _FIRST_LAYER + len(self._layer_names)]
        return int(self._waits[_AT_RUN]), tuple(int(n) for n in layers)

    @property
    def layer_stacks(self) -> tuple[int, ...]:
        """Return how deep each layer reached below the caller of ``<prefix>_run``, in bytes."""
        lowest = self._deepest[_FIRST_LAYER : _FIRST_LAYER + len(self._layer_names)].tolist()
        return tuple(max(0, int(self._state.run_stack) - low) for low in lowest)

    @property
    def layer_counts(self) -> tuple[int, tuple[int, ...]]:
        """Return the instructions of ``<prefix>_run`` in total, and of each layer."""
        layers = self._counts[_FIRST_LAYER : _FIRST_LAYER + len(self._layer_names)]
        return int(self._counts[_AT_RUN] + layers.sum()), tuple(int(n) for n in layers)

    def executed(self, layer: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Return how often a layer executed each halfword of the code.

        Args:
            layer: its number, or -1 for ``<prefix>_run`` itself.

        Returns:
            executions of the instruction at each halfword from the start of the flash, and taken
            branches, counted at the halfword behind the branch.
        """
        place = _FIRST_LAYER + layer if layer >= 0 else _AT_RUN
        return np.cumsum(self._runs[place]), self._taken[place]

    @property
    def code(self) -> npt.NDArray[np.uint16]:
        """Return the code from the start of the flash, in halfwords."""
        return self._code.view(np.uint16)

    @property
    def block_starts(self) -> npt.NDArray[np.bool_]:
        """Tell for each halfword of the code whether a basic block was executed from there."""
        return np.asarray(self._lengths[: self.code.size] != 0)

    def stack_used(self) -> int:
        """Return the greatest depth of the stack since it was painted, in bytes."""
        low, high = self.image.symbols["__stack_limit"], self.image.symbols["__stack_top"]
        words = np.frombuffer(self.read(low, high - low), "<u4")
        touched = np.flatnonzero(words != 0xDEADBEEF)
        return high - low - 4 * int(touched[0]) if touched.size else 0

    def _map(self, board: Board) -> None:
        from unicorn import UC_PROT_EXEC, UC_PROT_READ, UC_PROT_WRITE

        for region in board.regions:
            rights = UC_PROT_READ | (UC_PROT_EXEC if region.kind == "flash" else UC_PROT_WRITE)
            self._uc.mem_map(region.start, _pages(region), rights)
            if region.size % PAGE:
                self._guard(region)
        for address, data in self.image.segments:
            self._uc.mem_write(address, data)

    def _guard(self, region: Region) -> None:
        """Unicorn maps whole pages: refuse what lies behind the end of an uneven region."""
        from unicorn import UC_HOOK_MEM_READ, UC_HOOK_MEM_WRITE, UC_MEM_WRITE

        def refuse(_: Any, kind: int, address: int, size: int, __: int, ___: Any) -> None:
            state = self._state
            state.fault_kind = 20 if kind == UC_MEM_WRITE else 19
            state.fault_address, state.fault_bytes = address, size
            self._uc.emu_stop()

        kinds = UC_HOOK_MEM_READ | UC_HOOK_MEM_WRITE
        end = region.start + _pages(region)
        self._uc.hook_add(kinds, refuse, begin=region.end, end=end - 1)

    def _counting(self) -> None:
        start, size = _code_window(self.image, self.board)
        code = np.zeros(size, np.uint8)
        for address, data in self.image.segments:
            if start <= address < start + size:
                part = np.frombuffer(data, np.uint8)[: start + size - address]
                code[address - start : address - start + part.size] = part
        self._code = code
        self._lengths = np.zeros(size // 2 + 2, np.uint32)
        self._marks = np.zeros(size // 2 + 2, np.uint16)
        state = self._state
        state.base, state.size = start, size
        state.return_to = state.mark_return = _NOWHERE
        state.stride, state.last_end = size // 2 + 2, start
        for name in ("code", "lengths", "marks"):
            setattr(state, name, getattr(self, f"_{name}").ctypes.data)
        self._places(_FIRST_LAYER)

    def _places(self, count: int) -> None:
        """Make room to count ``count`` places: outside, in the run itself, in each layer."""
        self._state.layers = count - _FIRST_LAYER
        shape = (count, int(self._state.stride))
        self._counts = np.zeros(count, np.uint64)
        self._runs, self._taken = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
        self._deepest = np.full(count, _NOWHERE, np.uint32)
        self._waits = np.zeros(count, np.uint64)
        for name in ("counts", "runs", "taken"):
            setattr(self._state, name, getattr(self, f"_{name}").ctypes.data)

    def _peripherals(self, console: Console) -> None:
        state, ticks = self._state, console.ticks
        state.rx_state, state.rx_mask, state.rx_ready = _flag(console.rx)
        state.tx_state, state.tx_mask, state.tx_ready = _flag(console.tx)
        state.rx_data, state.tx_data = console.rx_data, console.tx_data
        state.ticks, state.ticks_down = ticks.address, ticks.down
        state.ticks_mask = 0xFF_FFFF if ticks.systick else 0xFFFF_FFFF
        self._outgoing = ctypes.create_string_buffer(_UART_BUFFER)
        state.outgoing, state.outgoing_size = ctypes.addressof(self._outgoing), _UART_BUFFER
        read, write = address_of(hook_library(), "on_read"), address_of(hook_library(), "on_write")
        enabling = [at for region in self.board.regions for at, _ in region.enable or ()]
        touched = (*console.registers, *enabling, _SYSTEM_CONTROL)
        bases = {address & ~(PAGE - 1) for address in touched}
        self._pages = [Page(ctypes.pointer(state), base) for base in sorted(bases)]
        for page in self._pages:
            self._native("uc_mmio_map", page.base, PAGE, read, page, write, page)

    def _hooks(self) -> None:
        from unicorn import UC_HOOK_BLOCK, UC_HOOK_INTR, UC_HOOK_MEM_INVALID

        self._state.stop = address_of(self._lib, "uc_emu_stop")
        self._state.read_register = address_of(self._lib, "uc_reg_read")
        self._state.write_register = address_of(self._lib, "uc_reg_write")
        self._hook(UC_HOOK_BLOCK, "on_block")
        self._hook(UC_HOOK_MEM_INVALID, "on_fault")
        self._uc.hook_add(UC_HOOK_INTR, self._interrupt)

    def _hook(self, kind: int, name: str, begin: int = 1, end: int = 0) -> None:
        """Call a function of the compiled hook from now on, at all addresses by default."""
        handle, function = ctypes.pointer(ctypes.c_size_t()), address_of(hook_library(), name)
        self._native("uc_hook_add", handle, ctypes.c_int(kind), function, self._state, begin, end)

    def _native(self, name: str, *arguments: Any) -> None:
        """Call Unicorn's C API directly: the binding only takes Python callbacks."""
        converted = [
            ctypes.c_uint64(a) if isinstance(a, int)
            else ctypes.byref(a) if isinstance(a, State | Page)
            else a
            for a in arguments
        ]  # fmt: skip
        if getattr(self._lib, name)(self._uc._uch, *converted):
            raise ToolError("E604", f"Unicorn refused {name}")

    def _go(self, pc: int) -> None:
        from unicorn import UcError

        state = self._state
        state.limit, state.fault_kind = state.instructions + self._limit, 0
        state.limit_reached = 0
        self._unhandled = 0
        try:
            self._uc.emu_start(pc | 1, self.image.symbols["tsr_halt"] & ~1)
        except UcError as error:
            raise self._fault(str(error)) from None
        if state.fault_kind or self._unhandled:
            raise self._fault(f"exception {self._unhandled}")
        if state.limit_reached:
            raise self._fault(f"it did not finish within {self._limit} instructions")

    def _fault(self, what: str) -> ToolError:
        state = self._state
        actions = {19: "read", 20: "write", 21: "execute", 22: "write", 23: "read", 24: "execute"}
        if action := actions.get(state.fault_kind):
            what = f"it tried to {action} {state.fault_bytes} bytes at 0x{state.fault_address:08x}"
            what += ", where the board has no such memory"
        place = self.image.place(self._get("PC"))
        layer = int(state.current) - _FIRST_LAYER
        if 0 <= layer < len(self._layer_names):
            place = f"{self._layer_names[layer]}: {place}"
        numbers = {"address": int(state.fault_address), "pc": self._get("PC")}
        return ToolError("E603", f"the firmware failed: {what}", where=place, numbers=numbers)

    def _interrupt(self, uc: Any, number: int, _: Any) -> None:
        pc = self._get("PC")
        if number != _BREAKPOINT or int.from_bytes(self.read(pc, 2), "little") != _SEMIHOSTING:
            self._unhandled = number
            uc.emu_stop()
            return
        operation, argument = self._get("R0"), self._get("R1")
        self._set("PC", (pc + 2) | 1)
        if operation == _WRITE_TEXT:
            text = self.read(argument, 4096).split(b"\0")[0]
            self.text += text.decode("latin-1")
        elif operation == _EXIT:
            self.exit_status = int.from_bytes(self.read(argument + 4, 4), "little")
            uc.emu_stop()

    def _sent(self) -> bytes:
        sent = self._outgoing.raw[: self._state.outgoing_next]
        self._state.outgoing_next = 0
        return sent

    def _halfword(self, address: int) -> int:
        return (address - int(self._state.base)) // 2

    def _get(self, register: str) -> int:
        return int(self._uc.reg_read(_register(register)))

    def _set(self, register: str, value: int) -> None:
        self._uc.reg_write(_register(register), value)


def _engine(board: Board) -> tuple[Any, ctypes.CDLL]:
    try:
        import unicorn
        from unicorn.unicorn_py3.unicorn import uclib
    except ImportError:
        raise ToolError(
            "E604", "the emulator needs Unicorn", hints=['pip install "tessera[mcu]"']
        ) from None
    core = board.emulation.unicorn.upper().replace("-", "_")
    model = getattr(unicorn.arm_const, f"UC_CPU_ARM_{core}", None)
    if model is None:
        raise ToolError("E604", f"Unicorn does not emulate {board.core}", where=board.id)
    uc = unicorn.Uc(unicorn.UC_ARCH_ARM, unicorn.UC_MODE_THUMB | unicorn.UC_MODE_MCLASS)
    uc.ctl_set_cpu_model(model)
    return uc, ctypes.CDLL(uclib._name)


def _register(name: str) -> int:
    from unicorn import arm_const

    return int(getattr(arm_const, f"UC_ARM_REG_{name}"))


def _flag(flag: Any) -> tuple[int, int, int]:
    return flag.address, flag.mask, flag.ready


def _pages(region: Region) -> int:
    return -(-region.size // PAGE) * PAGE


def _code_window(image: Image, board: Board) -> tuple[int, int]:
    flash = board.flash
    ends = [f.address + f.size for f in image.functions if flash.start <= f.address < flash.end]
    size = max(ends, default=flash.start) - flash.start
    return flash.start, (size + 3) & ~3
