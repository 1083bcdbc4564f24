"""One exchange of a hidden state over an emulated link: topologies and encodings against Gloo.

    python benchmarks/cluster_exchange.py [--devices 2,4] [--link 1ms,100Mbit] [--hidden 4096]

Prints mean and median milliseconds per exchange, back to back as in a token. Every device is a
process of its own; links go through the emulator in `runtimes.cluster.emulate`. Gloo (where torch
is installed) cannot be led through it and is compared on plain loopback.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from runtimes.cluster.arrays import rows_of
from runtimes.cluster.emulate.cluster import pin
from runtimes.cluster.exchange import Exchange, Topology, make_exchange
from runtimes.cluster.links import Links, Mailbox, Peer, tune
from runtimes.cluster.payload import open_codec
from runtimes.cluster.wire import Encoding, Frame, Header, Kind

OURS = [
    (Topology.MESH, Encoding.INT8),
    (Topology.MESH, Encoding.F16),
    (Topology.MESH, Encoding.F32),
    (Topology.DOUBLING, Encoding.INT8),
    (Topology.STAR, Encoding.INT8),
    (Topology.STAR, Encoding.F32),
]
WARM_UP = 20


class Patient:
    """Waits for ever, ignores everything else."""

    def other(self, peer: Peer, frame: Frame) -> None:  # noqa: D102
        pass

    def waiting(self, seconds: float, devices: frozenset[int]) -> None:  # noqa: D102
        if seconds > 20:
            raise TimeoutError(f"nothing from {sorted(devices)}")


def zeromq(rank: int, order: dict) -> Callable[[Topology, Encoding], Exchange]:
    """Bind, tell the parent, learn the routes, connect: lower ranks dial higher ones."""
    import zmq

    def refuse(_peer: Peer, error: Exception) -> None:
        raise error

    context, mailbox = zmq.Context(), Mailbox(refuse)
    router = context.socket(zmq.ROUTER)
    tune(router)
    router.bind("tcp://127.0.0.1:0")
    mailbox.add(router)
    address = router.getsockopt_string(zmq.LAST_ENDPOINT).rpartition(":")[2]
    print(f"127.0.0.1:{address}", flush=True)
    routes = {(a, b): to for a, b, to in json.loads(sys.stdin.readline())}
    peers: dict[int, Peer] = {}
    for other in range(rank + 1, order["devices"]):
        dealer = context.socket(zmq.DEALER)
        tune(dealer)
        dealer.connect("tcp://" + routes[rank, other])
        mailbox.add(dealer)
        peers[other] = Peer(dealer)
        peers[other].send(Header(Kind.ECHO, sender=rank))
    while len(peers) < order["devices"] - 1:
        peer, frame = mailbox.receive(20)
        peers[frame.header.sender] = peer
    print("ready", flush=True)
    sys.stdin.readline()  # until all ranks are
    links = Links(mailbox, rank, 1, peers, Patient())

    def make(topology: Topology, encoding: Encoding) -> Exchange:
        roster = [(r,) for r in range(order["devices"])]
        return make_exchange(
            topology, links, roster, open_codec(encoding, order["hidden"]), order["hidden"]
        )

    return make


def measure(exchange: Exchange, rank: int, order: dict, number: int = 0) -> list[float]:
    values = np.random.default_rng(rank).standard_normal((1, order["hidden"]), np.float32)
    partial = rows_of(values)
    times = []
    first = number << 16  # a rank may be an engine ahead of another
    for step in range(first, first + WARM_UP + order["repeat"]):
        began = time.perf_counter()
        exchange.all_reduce(step, 0, {rank: partial})
        times.append(time.perf_counter() - began)
    return times[WARM_UP:]


def run_rank(rank: int) -> None:
    order = json.loads(sys.stdin.readline())
    if order["engine"] == "gloo":
        from runtimes.cluster.torch_exchange import TorchExchange

        exchange = TorchExchange(rank, order["devices"], order["store"])
        print(json.dumps({"gloo f32": measure(exchange, rank, order)}), flush=True)
        return
    make, results = zeromq(rank, order), {}
    for number, (topology, encoding) in enumerate(OURS):
        exchange = make(topology, encoding)
        results[f"{topology} {encoding.name.lower()}"] = measure(exchange, rank, order, number)
    print(json.dumps(results), flush=True)


def spawn(order: dict) -> list[subprocess.Popen]:
    ranks = []
    for rank in range(order["devices"]):
        rank_process = subprocess.Popen(
            [sys.executable, __file__, "--rank", str(rank)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        pin(rank_process.pid, rank)
        rank_process.stdin.write(json.dumps(order) + "\n")
        ranks.append(rank_process)
    return ranks


def measure_ours(order: dict, link: str) -> dict[str, list[float]]:
    """All topologies and encodings of ours; an empty link is plain loopback."""
    ranks = spawn(order)
    targets = [rank.stdout.readline().strip() for rank in ranks]
    relay = None
    try:
        if link:
            relay, routes = start_relay(link, targets)
        else:
            count = range(order["devices"])
            routes = json.dumps([(a, b, targets[b]) for a in count for b in count]) + "\n"
        for rank in ranks:
            rank.stdin.write(routes)
        for rank in ranks:
            rank.stdout.readline()
        for rank in ranks:
            rank.stdin.write("go\n")
        return json.loads(ranks[0].stdout.readline())
    finally:
        stop([*ranks, *([relay] if relay else [])])


def start_relay(link: str, targets: list[str]) -> tuple[subprocess.Popen, str]:
    relay = subprocess.Popen(
        [sys.executable, "-m", "runtimes.cluster.emulate"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[1],
    )
    setup = {"link": link, "targets": targets, "seed": 0}
    relay.stdin.write(json.dumps(setup).encode() + b"\n")
    relay.stdin.flush()
    return relay, relay.stdout.readline().decode()


def measure_gloo(order: dict) -> dict[str, list[float]]:
    """Gloo dials by itself, so it runs on plain loopback only."""
    with tempfile.TemporaryDirectory() as folder:
        ranks = spawn({**order, "store": f"file://{folder}/store"})
        try:
            return json.loads(ranks[0].stdout.readline())
        finally:
            stop(ranks)


def stop(processes: list[subprocess.Popen]) -> None:
    for process in processes:
        process.kill()
        process.wait()


def report(devices: int, results: dict[str, list[float]]) -> None:
    for name, seconds in results.items():
        ms = np.array(seconds) * 1e3
        print(f"{devices:8d}  {name:16s} {ms.mean():7.2f} {np.median(ms):7.2f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--devices", default="2,4")
    parser.add_argument("--link", default="1ms,100Mbit")
    parser.add_argument("--hidden", type=int, default=4096)
    parser.add_argument("--repeat", type=int, default=200)
    parser.add_argument("--rank", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.rank is not None:
        run_rank(arguments.rank)
        return
    print(f"one exchange of {4 * arguments.hidden} bytes (f32), ms")
    for link in (arguments.link, ""):
        print(f"\n{'devices':>8s}  {link or 'loopback':16s} {'mean':>7s} {'median':>7s}")
        for devices in map(int, arguments.devices.split(",")):
            order = {"devices": devices, "hidden": arguments.hidden, "repeat": arguments.repeat}
            report(devices, measure_ours({**order, "engine": "zeromq"}, link))
            if not link and find_spec("torch"):
                report(devices, measure_gloo({**order, "engine": "gloo"}))


if __name__ == "__main__":
    main()
