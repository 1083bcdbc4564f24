"""The cycle model: a decoder held against objdump, a loop counted by hand."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from runtimes.emulator.blocks import disassemble, hot_functions
from runtimes.emulator.cycles import estimate
from runtimes.emulator.thumb import Kind, decode
from runtimes.toolchains import build_firmware, gcc
from tests.runtimes.networks import small_network

pytestmark = pytest.mark.skipif(
    gcc() is None or not shutil.which("arm-none-eabi-objdump"), reason="needs GNU tools"
)
LINE = re.compile(r"^\s*[0-9a-f]+:\t([0-9a-f]{4}) ?([0-9a-f]{4})?\s*\t(\S+)\s*(.*)$")
CONDITIONS = "eq|ne|cs|cc|mi|pl|vs|vc|hi|ls|ge|lt|gt|le"
KINDS = {
    rf"b({CONDITIONS})(\.n|\.w)?|cbn?z": Kind.CONDITIONAL,
    r"b(\.n|\.w)?|bx|blx|bx(" + CONDITIONS + ")": Kind.BRANCH,
    r"bl": Kind.CALL,
    r"tb[bh]": Kind.TABLE,
    r"[su]div(" + CONDITIONS + ")?": Kind.DIVIDE,
    r"(ldm|stm|push|pop|vldm|vstm|vpush|vpop|ldrd|strd).*": Kind.MULTIPLE,
    r"ldr.*|vldr.*": Kind.LOAD,
    r"str.*|vstr.*": Kind.STORE,
    r"v(fma|fms|fnma|fnms|mla|mls|nmla|nmls)\.f32": Kind.FLOAT_MAC,
    r"v(div|sqrt)\.f32": Kind.FLOAT_DIVIDE,
}
FLOATS = """
float many(const float *a, int n, volatile int *q);
float many(const float *a, int n, volatile int *q)
{
    float sum = 0.0f;
    for (int i = 0; i < n; i++) {
        sum += a[i] * a[i + 1];
        sum += a[i] / (a[i + 2] + 1.0f) + __builtin_sqrtf(a[i]);
        *q = *q / n + (int)((unsigned)i % 7u) + (int)sum;
        switch (*q) {
        case 0: sum += 1.0f; break;
        case 1: sum *= 3.0f; break;
        case 2: sum -= a[7]; break;
        case 3: sum = a[9]; break;
        case 4: *q = 17; break;
        case 5: *q = n; break;
        }
    }
    return sum;
}
"""


def expected(mnemonic: str, operands: str) -> Kind:
    if mnemonic.startswith(("mov", "add")) and operands.startswith("pc,"):
        return Kind.BRANCH
    return next((k for p, k in KINDS.items() if re.fullmatch(p, mnemonic)), Kind.ALU)


def test_the_decoder_agrees_with_objdump(tmp_path: Path) -> None:
    network = small_network("nucleo_f446re")
    files = {**network.files, "src/floats.c": FLOATS}
    elf = build_firmware(files, network.board, tmp_path).elf
    source, compiled = tmp_path / "src/floats.c", tmp_path / "floats.o"
    flags = ["-O2", "-mcpu=cortex-m4", "-mthumb", "-mfpu=fpv4-sp-d16", "-mfloat-abi=hard", "-c"]
    flags += ["-fno-math-errno", str(source), "-o", str(compiled)]
    subprocess.run(["arm-none-eabi-gcc", *flags], check=True)
    seen = set()
    for file in (elf, compiled):
        listing = subprocess.run(
            ["arm-none-eabi-objdump", "-d", str(file)], check=True, capture_output=True, text=True
        ).stdout
        for line in listing.splitlines():
            match = LINE.match(line)
            if match is None or match[3].startswith("."):
                continue
            first, second = int(match[1], 16), int(match[2] or "0", 16)
            instruction = decode(first, second)
            assert instruction.size == (2 if match[2] else 1), line
            assert instruction.kind is expected(match[3], match[4]), line
            seen.add(instruction.kind)
    assert seen >= set(Kind) - {Kind.TABLE}


def test_a_loop_takes_the_cycles_of_the_manual(tmp_path: Path) -> None:
    network = small_network("nucleo_f446re")
    path = "lib/model/src/model.c"
    start, rest = network.files[path].split("LAYER layer_00_conv2d(void)\n{\n", 1)
    loop = r"""__asm volatile("movs r0, #100\n1: ldr r1, [sp]\n\tldr r2, [sp]\n\tsubs r0, #1\n\t"
        "bne 1b\n\tpush {r0, r1, r2}\n\tpop {r0, r1, r2}\n\tbx lr" ::: "r0", "r1", "r2", "cc");"""
    body = f"LAYER __attribute__((naked)) layer_00_conv2d(void)\n{{\n    {loop}\n}}\n"
    unused = "void unused(void);\nLAYER __attribute__((unused)) dropped(void)\n{\n"
    files = {**network.files, path: start + body + unused + rest}
    changed = replace(network, files=files)
    emulator = changed.emulator(tmp_path, gcc())
    run = emulator.run(network.inputs(0))
    around = run.layers[0].instructions - (1 + 100 * 4 + 3)
    assert 1 <= around <= 2  # the call
    found = estimate(emulator)
    assert found.layers[0] - around in (n := 1 + 100 * (2 + 1 + 1 + 1) + 99 * 2 + 4 + 4 + 3, n + 2)
    assert found.total > sum(found.layers) > run.instructions


def flash_waits(folder: Path, body: str) -> int:
    """Cycles for which the first layer waits, its code replaced by ``body``."""
    network = small_network("nucleo_f446re")
    path = "lib/model/src/model.c"
    start, rest = network.files[path].split("LAYER layer_00_conv2d(void)\n{\n", 1)
    loop = f'__asm volatile("{body}\\n\\tbx lr" ::: "r0", "r1", "r2", "r3", "cc");'
    made = f"LAYER __attribute__((naked, aligned(16))) layer_00_conv2d(void)\n{{\n    {loop}\n}}\n"
    unused = "void unused(void);\nLAYER __attribute__((unused)) dropped(void)\n{\n"
    files = {**network.files, path: start + made + unused + rest}
    emulator = replace(network, files=files).emulator(folder, gcc())
    emulator.machine.watch_flash()
    emulator.run(network.inputs(0))
    found = estimate(emulator)
    waits = emulator.machine.flash_waits
    assert waits is not None
    assert found.waits == waits[0] + sum(waits[1])
    return waits[1][0]


def test_loads_wait_for_flash_that_is_not_cached(tmp_path: Path) -> None:
    """Words of 16 bytes, 5 wait states; the data cache keeps the 8 words used last."""
    body = (
        "movs r0, #100\\n\\tmov.w r1, #0x8000000\\n\\tmovs r3, #0\\n"
        "1: and r2, r3, #{mask}\\n\\tldr r2, [r1, r2]\\n\\tadds r3, #{step}\\n\\t"
        "subs r0, #1\\n\\tbne 1b"
    )
    waits = {
        (mask, step): flash_waits(tmp_path / f"{mask}-{step}", body.format(mask=mask, step=step))
        for mask, step in ((127, 16), (255, 16), (255, 4))
    }
    assert waits[255, 16] - waits[127, 16] == 5 * (100 - 8)
    assert waits[255, 4] - waits[127, 16] == 5 * (25 - 8)
    assert 5 * 8 < waits[127, 16] <= 5 * (8 + 3)


def test_a_conditional_load_from_flash_leaves_no_condition_behind(tmp_path: Path) -> None:
    """The two loads behind the branch are no part of the IT block before it."""
    body = (
        "mov.w r1, #0x8000000\\n\\tcmp r1, #0\\n\\t"
        "itett lt\\n\\tmovlt r3, #1\\n\\tldrge r2, [r1]\\n\\t"
        "movlt r3, #2\\n\\tmovlt r3, #3\\n\\tb 1f\\n\\tnop\\n"
        "1: ldr.w r2, [r1, #{first}]\\n\\tldr.w r2, [r1, #{second}]"
    )
    near, far = (
        flash_waits(tmp_path / f"{first}", body.format(first=first, second=second))
        for first, second in ((4, 8), (512, 1024))
    )
    assert far - near == 2 * 5


def test_code_waits_for_flash_that_is_not_cached(tmp_path: Path) -> None:
    """64 words are cached; of a word that follows, one of five wait states is not hidden."""
    body = (
        "movs r0, #{rounds}\\n1: .rept {count}\\n\\tnop\\n\\t.endr\\n\\tsubs r0, #1\\n\\tbne.w 1b"
    )
    small = [
        flash_waits(tmp_path / f"small-{rounds}", body.format(rounds=rounds, count=200))
        for rounds in (1, 9)
    ]
    assert small[0] == small[1] > 0
    large = [
        flash_waits(tmp_path / f"large-{rounds}", body.format(rounds=rounds, count=1024))
        for rounds in (1, 9)
    ]
    words = (large[1] - large[0] - 8 * 5) / 8
    assert 127 <= words <= 128


def test_a_hot_loop_is_found_and_the_stack_below_a_layer_measured(tmp_path: Path) -> None:
    network = small_network("nucleo_f446re")
    path = "lib/model/src/model.c"
    start, rest = network.files[path].split("LAYER layer_00_conv2d(void)\n{\n", 1)
    loop = """__asm volatile("movs r0, #200\\n1: subs r0, #1\\n\\tnop\\n\\tnop\\n\\tbne 1b\\n\\t"
        "push {r0, r1, r2}\\n\\tsub sp, #40\\n\\tadd sp, #52\\n\\tbx lr" ::: "r0", "cc");"""
    body = f"LAYER __attribute__((naked)) layer_00_conv2d(void)\n{{\n    {loop}\n}}\n"
    unused = "void unused(void);\nLAYER __attribute__((unused)) dropped(void)\n{\n"
    files = {**network.files, path: start + body + unused + rest}
    emulator = replace(network, files=files).emulator(tmp_path, gcc())
    emulator.machine.watch_stack()
    run = emulator.run(network.inputs(0))
    functions = hot_functions(emulator)
    assert sum(f.instructions for f in functions) == run.instructions
    first = next(f for f in functions if f.name == "layer_00_conv2d").blocks[0]
    # The first round of the loop is part of the block that enters it.
    assert (first.executions, first.length) == (200, 4)
    assert first.source.startswith("model.c:")
    assert len(disassemble(emulator.firmware.elf, first)) == 4
    deepest = emulator.machine.layer_stacks
    # What the run function pushed, its call's return address among it, lies above the layer.
    assert 52 <= deepest[0] <= 52 + 4 * 10 + 8
    assert max(deepest) <= run.stack_bytes
