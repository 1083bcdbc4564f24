"""Python packages for Linux boards: built as their users build them, equal to the interpreter."""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from boards import Board, all_boards, load_board
from codegen.edge import edge_library, library_file, package_files
from runtimes.edge.build import EmulatedProcess, build_library, emulator
from runtimes.edge.compiled import Network
from runtimes.host.library import write_files
from tests.ops.harness import random_values
from tests.plan.networks import random_mobile_network
from tests.plan.test_states import recurrent
from toolchain.errors import UsageError
from toolchain.ir import Array, Graph, Session, run
from toolchain.plan import pareto, plan_layers

HOST = load_board("host")
# One board of each architecture.
BOARDS = list({b.linux.target: b for b in all_boards() if b.linux and emulator(b)}.values())


def built(graph: Graph, folder: Path) -> Network:
    """Return the network of a package that was built in ``folder``."""
    files = package_files(graph, plan_layers(graph), HOST, name="net")
    write_files(files, folder)
    sources = [name for name in files if name.endswith(".c")]
    build_library(sources, HOST, folder, folder / "net" / library_file("net"))
    return Network(folder / "net")


def cases(graph: Graph, count: int, seed: int) -> list[list[Array]]:
    rng = np.random.default_rng(seed)
    return [[random_values(t, rng) for t in graph.input_tensors] for _ in range(count)]


def joined(values: list[list[Array]]) -> list[Array]:
    return [np.concatenate(column) for column in zip(*values, strict=True)]


@pytest.mark.parametrize("seed", range(3))
def test_batches_in_threads_equal_the_interpreter(seed: int, tmp_path: Path) -> None:
    graph = random_mobile_network(np.random.default_rng(seed))
    network, data = built(graph, tmp_path), cases(graph, 13, seed)
    expected = joined([run(graph, case) for case in data])
    for threads in (1, 4, None):
        for got, want in zip(network.run(*joined(data), threads=threads), expected, strict=True):
            np.testing.assert_array_equal(got, want)


def test_instances_do_not_share_states_and_reset_forgets(tmp_path: Path) -> None:
    graph = recurrent(np.random.default_rng(1))
    first, data = built(graph, tmp_path), cases(graph, 6, 0)
    second = Network(tmp_path / "net")
    session = Session(graph)
    expected = [session.run(case)[0] for case in data]
    # Each instance in a thread of its own, which is not the one that made it.
    with ThreadPoolExecutor(2) as pool:
        both = [pool.submit(lambda n=n: [n.run(*c)[0] for c in data]) for n in (first, second)]
    for future in both:
        np.testing.assert_array_equal(np.concatenate(future.result()), np.concatenate(expected))
    first.reset()
    (steps,) = first.run(*joined(data))
    np.testing.assert_array_equal(steps, np.concatenate(expected))


def test_real_values_go_in_and_come_out(tmp_path: Path) -> None:
    graph = random_mobile_network(np.random.default_rng(5))
    network, (case,) = built(graph, tmp_path), cases(graph, 1, 5)
    port, (tensor,) = network.inputs[0], graph.input_tensors
    assert port.shape == tensor.shape
    assert tensor.quant is not None
    values = (case[0].astype(np.float64) - tensor.quant.zero_points[0]) * tensor.quant.scales[0]
    (got,) = network.predict(values.astype(np.float32))
    (raw,) = run(graph, case)
    quant = graph.output_tensors[0].quant
    assert quant is not None
    np.testing.assert_allclose(
        got, (raw - float(quant.zero_points[0])) * quant.scales[0], rtol=1e-6
    )


def test_wrong_arrays_are_refused_by_name(tmp_path: Path) -> None:
    graph = random_mobile_network(np.random.default_rng(5))
    network, ((x,),) = built(graph, tmp_path), cases(graph, 1, 5)
    name = graph.inputs[0]
    with pytest.raises(ValueError, match=name):
        network.run(x[:, :-1])
    with pytest.raises(ValueError, match="predict"):
        network.run(x.astype(np.float32))
    with pytest.raises(ValueError, match="1 inputs are needed, not 2"):
        network.run(x, x)
    assert network.run(x[:0])[0].shape[0] == 0


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.id)
def test_programs_for_the_board_equal_the_interpreter(board: Board, tmp_path: Path) -> None:
    graph = random_mobile_network(np.random.default_rng(11))
    files, data = edge_library(graph, pareto(graph, fed=False)[0], "net"), cases(graph, 4, 3)
    process = EmulatedProcess(graph, files, board, tmp_path, "net")
    for got, case in zip(process.run(data), data, strict=True):
        for have, want in zip(got, run(graph, case), strict=True):
            np.testing.assert_array_equal(have, want)


def test_a_plan_that_is_fed_is_refused() -> None:
    graph = random_mobile_network(np.random.default_rng(0))
    plan = next(plan for plan in pareto(graph, fed=True) if plan.feed)
    with pytest.raises(UsageError, match="E140"):
        package_files(graph, plan, HOST, name="net")


@pytest.mark.slow
def test_the_installed_wheel_needs_numpy_only(tmp_path: Path) -> None:
    graph = random_mobile_network(np.random.default_rng(2))
    write_files(package_files(graph, plan_layers(graph), HOST, name="net"), tmp_path / "project")
    wheels, site = tmp_path / "wheels", tmp_path / "site"
    pip = [sys.executable, "-m", "pip", "-q", "--disable-pip-version-check"]
    make = [*pip, "wheel", "--no-deps", "--no-build-isolation", str(tmp_path / "project")]
    subprocess.run([*make, "-w", str(wheels)], check=True)
    (wheel,) = wheels.glob("*.whl")
    assert "-py3-none-linux_" in wheel.name
    subprocess.run([*pip, "install", "--no-deps", "--target", str(site), str(wheel)], check=True)
    data = cases(graph, 5, 1)
    x, y = tmp_path / "x.npy", tmp_path / "y.npy"
    np.save(x, joined(data)[0])
    program = (
        "import sys, json, numpy as np; sys.path[:0] = [sys.argv[1]]; import net;"
        "(y,) = net.Network().run(np.load(sys.argv[2])); np.save(sys.argv[3], y);"
        "print(json.dumps(sorted({m.split('.')[0] for m in sys.modules})))"
    )
    command = [sys.executable, "-I", "-c", program, str(site), str(x), str(y)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert not {"toolchain", "runtimes", "codegen"} & set(json.loads(done.stdout))
    np.testing.assert_array_equal(np.load(y), joined([run(graph, case) for case in data])[0])
