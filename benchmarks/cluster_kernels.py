"""Kernels against the machine's memory, and a whole token against llama.cpp, on one thread.

    python benchmarks/cluster_kernels.py [--rounds 7] [--only-tokens] [--llama-python PYTHON]

The first part prints the share of stream-read bandwidth that int4 and int8 matrix-vector products
reach with weights out of cache, and the time of choosing a token. The second runs the shape of
TinyLlama-1.1B (zero or random weights: speed does not depend on them) token by token here and in
llama.cpp Q4_0, in turns in one run; llama.cpp comes from a Python that has gguf and xllamacpp or
llama-cpp-python.
"""

from __future__ import annotations

import argparse
import functools
import json
import statistics
import subprocess
import sys
import tempfile
import time
import timeit
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from runtimes.cluster.array_sampler import ArraySampler
from runtimes.cluster.arrays import rows_of
from runtimes.cluster.engine import Engine
from runtimes.cluster.measure import kernel_speed, stream_bandwidth
from runtimes.cluster.native.cpu import supported
from runtimes.cluster.native_engine import EngineOptions, NativeEngine
from runtimes.cluster.sampling import Sampling, open_sampler
from runtimes.cluster.shard import ShardFile
from runtimes.cluster.sparse_shard import write_sparse_shard
from runtimes.cluster.unsplit import run_unsplit
from toolchain.cluster.config import ModelConfig
from toolchain.cluster.split import Bits, split

TINY_LLAMA = ModelConfig("llama", 2048, 5632, 22, 32, 4, 64, 32000, 2048)
SHAPES = [(4096, 4096), (5632, 2048), (2048, 5632)]
PROMPT, TOKENS = 28, 24


def kernels(rounds: int) -> None:
    for variant in supported():
        print(f"\n{variant.name}")
        for bits in (4, 8) if variant.name != "portable" else (4,):
            for rows, columns in SHAPES:
                stream = stream_bandwidth(rounds=rounds)
                speed = kernel_speed(bits, rows, columns, rounds=rounds, kernels=variant.name)
                print(
                    f"  int{bits}  {rows:5d} x {columns:5d}  {1e6 * speed.seconds:7.0f} us"
                    f"  {speed.bandwidth / 1e9:5.1f} of {stream / 1e9:5.1f} GB/s"
                    f"  share {speed.bandwidth / stream:.2f}"
                )


def sampling(rounds: int) -> None:
    """Time of choosing a token: top-k, top-p, by the kernel and by numpy."""
    random = np.random.default_rng(0)
    print("\nsampling (least)            kernel      numpy")
    for vocab in (32_000, 151_936):
        logits = rows_of(3 * random.standard_normal((1, vocab)).astype(np.float32))
        for options in ({}, {"top_p": 0.95}, {"top_k": 40, "top_p": 0.95}):
            how = Sampling(temperature=0.8, **options)
            calls = [
                functools.partial(sampler.choose, logits, how, 7)
                for sampler in (open_sampler(), ArraySampler())
            ]
            times = [min(timeit.repeat(call, number=5, repeat=rounds)) for call in calls]
            text = "".join(f"{1e6 * seconds / 5:8.0f} us" for seconds in times)
            print(f"  {vocab:7d}  {options.get('top_k', '-')!s:>3} {how.top_p:5}  {text}")


def open_tiny(folder: Path, bits: Bits) -> Engine:
    path = folder / f"tiny-{bits}.shard"
    if not path.exists():
        write_sparse_shard(TINY_LLAMA, split(TINY_LLAMA, [1.0])[0], bits, path, digest="benchmark")
    return NativeEngine(ShardFile(path), EngineOptions(kv="int8", capacity=256))


def time_engine(engine: Engine) -> tuple[float, list[float]]:
    """Seconds to the first token of a prompt, and of each token after it."""
    start = time.perf_counter()
    run_unsplit([engine], np.full(PROMPT, 5))
    first, tokens = time.perf_counter() - start, []
    for position in range(PROMPT, PROMPT + TOKENS):
        start = time.perf_counter()
        run_unsplit([engine], np.array([7]), position=position)
        tokens.append(time.perf_counter() - start)
    return first, tokens


# Prints seconds to the first token and a list of seconds per token (a mean with xllamacpp).
LLAMA = {
    "llama_cpp": """
import json, sys, time, llama_cpp
model = llama_cpp.Llama(sys.argv[1], n_ctx=256, n_threads=1, n_threads_batch=1, verbose=False)
model.eval([5] * 4)
model.reset()
def timed(tokens):
    start = time.perf_counter()
    model.eval(tokens)
    return time.perf_counter() - start
first = timed([5] * int(sys.argv[2]))
print(json.dumps([first, [timed([7]) for _ in range(int(sys.argv[3]))]]))
""",
    "xllamacpp": """
import json, sys, xllamacpp
params = xllamacpp.CommonParams()
params.model.path, params.n_ctx, params.n_parallel = sys.argv[1], 256, 1
params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
server = xllamacpp.Server(params)
prompt = {"prompt": [5] * int(sys.argv[2]), "n_predict": int(sys.argv[3]), "ignore_eos": True}
timings = server.handle_completions({**prompt, "cache_prompt": False})["timings"]
print(json.dumps([timings["prompt_ms"] / 1e3, [timings["predicted_per_token_ms"] / 1e3]]))
""",
}

GGUF = """
import sys, numpy as np, gguf
hidden, ffn, layers, heads, kv_heads, head_dim, vocab = map(int, sys.argv[2:])
writer, kind = gguf.GGUFWriter(sys.argv[1], "llama"), gguf.GGMLQuantizationType.Q4_0
writer.add_context_length(2048); writer.add_embedding_length(hidden)
writer.add_block_count(layers); writer.add_feed_forward_length(ffn)
writer.add_head_count(heads); writer.add_head_count_kv(kv_heads)
writer.add_layer_norm_rms_eps(1e-5); writer.add_rope_dimension_count(head_dim)
writer.add_vocab_size(vocab); writer.add_file_type(2); writer.add_tokenizer_model("llama")
writer.add_token_list(["<unk>", "<s>", "</s>"] + [f"t{i}" for i in range(vocab - 3)])
writer.add_token_scores([0.0] * vocab); writer.add_token_types([2, 3, 3] + [1] * (vocab - 3))
random = np.random.default_rng(0)
def matrix(name, rows, columns):
    blocks = random.integers(0, 256, (rows, columns // 32, 18), dtype=np.uint8)
    blocks[..., :2] = np.frombuffer(np.float16(0.01).tobytes(), np.uint8)
    writer.add_tensor(name, blocks.reshape(rows, -1), raw_dtype=kind)
def vector(name):
    writer.add_tensor(name, np.ones(hidden, np.float32))
matrix("token_embd.weight", vocab, hidden); matrix("output.weight", vocab, hidden)
vector("output_norm.weight")
q, kv = heads * head_dim, kv_heads * head_dim
for i in range(layers):
    for name in ("attn_norm", "ffn_norm"):
        vector(f"blk.{i}.{name}.weight")
    for name, rows, columns in (("attn_q", q, hidden), ("attn_k", kv, hidden),
            ("attn_v", kv, hidden), ("attn_output", hidden, q), ("ffn_gate", ffn, hidden),
            ("ffn_up", ffn, hidden), ("ffn_down", hidden, ffn)):
        matrix(f"blk.{i}.{name}.weight", rows, columns)
writer.write_header_to_file(); writer.write_kv_data_to_file(); writer.write_tensors_to_file()
writer.close()
"""


def time_llama(python: str, package: str, model: Path) -> tuple[float, list[float]]:
    command = [python, "-c", LLAMA[package], str(model), str(PROMPT), str(TOKENS)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    first, tokens = json.loads(done.stdout.splitlines()[-1])
    return first, tokens


def tokens(rounds: int, python: str, package: str, folder: Path) -> None:
    c = TINY_LLAMA
    model = folder / "tiny.gguf"
    sizes = (c.hidden, c.ffn, c.layers, c.heads, c.kv_heads, c.head_dim, c.vocab)
    ours: dict[Bits, list[tuple[float, list[float]]]] = {4: [], 8: []}
    theirs: list[tuple[float, list[float]]] = []
    if python:
        subprocess.run([python, "-c", GGUF, str(model), *map(str, sizes)], check=True)
    for _ in range(rounds):
        for bits, runs in ours.items():
            engine = open_tiny(folder, bits)
            runs.append(time_engine(engine))
            engine.close()
        if python:
            theirs.append(time_llama(python, package, model))
    print("\nwhole token, TinyLlama-1.1B shape, one thread (median of tokens, best of rounds)")
    for name, runs in [("int4", ours[4]), ("int8", ours[8]), ("llama.cpp Q4_0", theirs)]:
        if runs:
            token = min(statistics.median(times) for _, times in runs)
            least = min(min(times) for _, times in runs)
            first = min(first for first, _ in runs)
            print(
                f"  {name:15s} token {1e3 * token:6.1f} ms (least {1e3 * least:6.1f})"
                f"   first token {1e3 * first:6.0f} ms"
            )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--llama-python", default="", help="a Python with llama-cpp-python and gguf"
    )
    parser.add_argument("--llama-package", choices=sorted(LLAMA), default="xllamacpp")
    parser.add_argument("--only-tokens", action="store_true")
    options = parser.parse_args()
    if not options.only_tokens:
        kernels(options.rounds)
        sampling(options.rounds)
    with tempfile.TemporaryDirectory() as folder:
        tokens(options.rounds, options.llama_python, options.llama_package, Path(folder))


if __name__ == "__main__":
    main()
