import contextlib
import json
import struct

import numpy as np
import pytest
from cluster_models import STORIES, needs_stories, reference_engines, synthetic, tokens_of
from hypothesis import given, settings
from hypothesis import strategies as st

from runtimes.cluster.convert import convert
from runtimes.cluster.formats.base import layer_shapes, tensor_shapes
from runtimes.cluster.formats.gguf import _GLOBAL, _NAMES, GgufModel
from runtimes.cluster.formats.huggingface import HuggingFaceModel
from runtimes.cluster.formats.llama2c import Llama2cModel
from runtimes.cluster.formats.open import open_model
from runtimes.cluster.formats.raw import decode
from runtimes.cluster.native_engine import NativeEngine
from runtimes.cluster.shard import ShardFile
from runtimes.cluster.unsplit import run_unsplit
from toolchain.cluster.config import ModelConfig, RopeScaling, rotary_frequencies
from toolchain.cluster.config_readers import from_gguf, from_huggingface
from toolchain.errors import ModelError

gguf = pytest.importorskip("gguf")
SMALL = ModelConfig("llama", 64, 96, 2, 4, 2, 16, 40, 64, rope_style="interleaved")


def write_gguf(source, path, kind="F32"):
    """Write any source of the llama family as GGUF, matrices in the given type."""
    config = source.config
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(config.context)
    writer.add_embedding_length(config.hidden)
    writer.add_block_count(config.layers)
    writer.add_feed_forward_length(config.ffn)
    writer.add_head_count(config.heads)
    writer.add_head_count_kv(config.kv_heads)
    writer.add_key_length(config.head_dim)
    writer.add_layer_norm_rms_eps(config.norm_eps)
    writer.add_token_list([f"t{i}" for i in range(config.vocab)])
    writer.add_bos_token_id(1)
    writer.add_tokenizer_model("llama")
    writer.add_token_scores([0.0] * config.vocab)
    writer.add_token_types([1] * config.vocab)
    for name, shape in tensor_shapes(config).items():
        prefix, _, kind_name = name.rpartition(".")
        if name == "classifier" and config.tied:
            continue
        stored = (
            f"blk.{prefix.removeprefix('layers.')}.{_NAMES[kind_name]}" if prefix else _GLOBAL[name]
        )
        values = source.rows(name, 0, shape[0])
        stored_as = kind if len(shape) == 2 and shape[1] % 32 == 0 else "F32"
        quantised = gguf.GGMLQuantizationType[stored_as]
        writer.add_tensor(stored, gguf.quants.quantize(values, quantised), raw_dtype=quantised)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def write_huggingface(source, folder, shards=1, **extra):
    safetensors = pytest.importorskip("safetensors.numpy")
    from runtimes.cluster.formats.huggingface import _GLOBAL as NAMES
    from runtimes.cluster.formats.huggingface import _NAMES as LAYER_NAMES

    config = source.config
    tensors = {
        name: source.rows(key, 0, tensor_shapes(config)[key][0]) for key, name in NAMES.items()
    }
    for layer in range(config.layers):
        for kind, shape in layer_shapes(config).items():
            values = source.rows(f"layers.{layer}.{kind}", 0, shape[0])
            tensors[f"model.layers.{layer}.{LAYER_NAMES[kind]}"] = values
    names, weight_map = sorted(tensors), {}
    for shard in range(shards):
        file = "model.safetensors" if shards == 1 else f"model-{shard}.safetensors"
        part = {name: tensors[name] for name in names[shard::shards]}
        safetensors.save_file(part, folder / file)
        weight_map |= dict.fromkeys(part, file)
    if shards > 1:
        index = folder / "model.safetensors.index.json"
        index.write_text(json.dumps({"weight_map": weight_map}))
    (folder / "config.json").write_text(json.dumps(huggingface_config(config) | extra))
    return folder


def huggingface_config(config):
    return {
        "model_type": "llama",
        "hidden_size": config.hidden,
        "intermediate_size": config.ffn,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "num_key_value_heads": config.kv_heads,
        "head_dim": config.head_dim,
        "vocab_size": config.vocab,
        "max_position_embeddings": config.context,
        "rms_norm_eps": config.norm_eps,
    }


@needs_stories
def test_three_formats_of_one_model_agree(tmp_path):
    llama2c = Llama2cModel(STORIES / "stories260K.bin")
    models = [
        llama2c,
        HuggingFaceModel(STORIES / "derived/hf"),
        open_model(write_gguf(llama2c, tmp_path / "stories.gguf")),
    ]
    tokens = tokens_of(llama2c.config, 20)
    expected, *others = [run_unsplit(reference_engines(model, [1.0]), tokens) for model in models]
    for other in others:
        np.testing.assert_allclose(other, expected, atol=2e-5)


@needs_stories
def test_three_formats_of_one_model_convert_to_the_same_logits(tmp_path):
    llama2c = Llama2cModel(STORIES / "stories260K.bin")
    paths = [
        STORIES / "stories260K.bin",
        STORIES / "derived/hf",
        write_gguf(llama2c, tmp_path / "stories.gguf"),
    ]
    logits, warnings = [], []
    for number, path in enumerate(paths):
        folder = convert(
            *(path, tmp_path / str(number)), bits=32, weights=[2, 1, 1], warn=warnings.append
        )
        engines = [NativeEngine(ShardFile(folder.shard(rank))) for rank in range(3)]
        logits.append(run_unsplit(engines, tokens_of(llama2c.config, 20)))
        for engine in engines:
            engine.close()
    assert warnings == ["the model folder has no tokenizer.json: these shards take token ids only"]
    for other in logits[1:]:
        np.testing.assert_allclose(other, logits[0], atol=3e-5)


@pytest.mark.parametrize("kind", ["F16", "BF16", "Q4_0", "Q8_0"])
def test_stored_types_decode_as_the_format_defines(kind):
    values = np.random.default_rng(0).standard_normal((6, 64)).astype(np.float32)
    quantised = gguf.quants.quantize(values, gguf.GGMLQuantizationType[kind])
    expected = gguf.quants.dequantize(quantised, gguf.GGMLQuantizationType[kind])
    raw = np.frombuffer(quantised.tobytes(), np.uint8)
    np.testing.assert_array_equal(decode(raw, kind).reshape(6, 64), expected)


def test_a_q4_0_model_gives_rows_anywhere(tmp_path):
    model = GgufModel(write_gguf(synthetic(SMALL), tmp_path / "q.gguf", "Q4_0"))
    whole = model.rows("layers.1.gate", 0, 96)
    np.testing.assert_array_equal(model.rows("layers.1.gate", 7, 9), whole[7:9])
    error = np.abs(whole - synthetic(SMALL).rows("layers.1.gate", 0, 96)).max()
    assert 0 < error < 0.05


@pytest.mark.parametrize("shards", [1, 3])
def test_safetensors_folders_whole_or_sharded(shards, tmp_path):
    source = synthetic(SMALL)
    model = open_model(write_huggingface(source, tmp_path, shards))
    for name, shape in tensor_shapes(SMALL).items():
        expected = source.rows(name, 0, shape[0])
        np.testing.assert_array_equal(model.rows(name, 0, shape[0]), expected)


def test_index_files_cannot_name_files_elsewhere(tmp_path):
    write_huggingface(synthetic(SMALL), tmp_path, 2)
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "../../secret.safetensors"}}))
    with pytest.raises(ModelError, match="unsafe file name"):
        HuggingFaceModel(tmp_path)


@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_damaged_files_give_one_clear_error(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("damaged")
    kind = data.draw(st.sampled_from(["gguf", "safetensors", "config"]))
    if kind == "gguf":
        victim = opened = write_gguf(synthetic(SMALL), folder / "m.gguf")
    else:
        opened = write_huggingface(synthetic(SMALL), folder)
        victim = folder / ("config.json" if kind == "config" else "model.safetensors")
    content = bytearray(victim.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, min(len(content), 4000) - 1))
        content[at] = data.draw(st.integers(0, 255))
    victim.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    with contextlib.suppress(ModelError):  # anything else is a failure
        model = open_model(opened)
        model.rows("layers.0.q", 0, 1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "mamba"}, "mamba"),
        ({"rope_scaling": {"rope_type": "yarn"}}, "yarn"),
        ({"hidden_act": "relu"}, "relu"),
        ({"mlp_bias": True}, "bias"),
        ({"quantization_config": {"bits": 4}}, "another tool"),
        ({"hidden_size": "many"}, "hidden_size"),
        ({"rope_parameters": [1]}, "wrong type"),
    ],
)
def test_unsupported_models_are_refused_by_name(change, message, tmp_path):
    with pytest.raises(ModelError, match=message):
        HuggingFaceModel(write_huggingface(synthetic(SMALL), tmp_path, **change))


def test_llama3_scaling_is_recognised_from_gguf_divisors():
    scaling = RopeScaling("llama3", 32.0)
    config = ModelConfig("llama", 64, 64, 1, 1, 1, 64, 8, 64, rope_theta=5e5, rope_scaling=scaling)
    plain = [5e5 ** (-2 * i / 64) for i in range(32)]
    divisors = [a / b for a, b in zip(plain, rotary_frequencies(config, 0), strict=True)]
    metadata = {
        "general.architecture": "llama",
        "llama.embedding_length": 64,
        "llama.attention.head_count": 1,
        "llama.context_length": 64,
        "llama.feed_forward_length": 64,
        "llama.block_count": 1,
        "llama.rope.freq_base": 5e5,
        "llama.vocab_size": 8,
    }
    assert from_gguf(metadata, tied=True, rope_divisors=divisors).rope_scaling == scaling
    divisors[20] *= 2
    with pytest.raises(ModelError, match="not Llama 3"):
        from_gguf(metadata, tied=True, rope_divisors=divisors)


def test_gemma_and_qwen_differ_only_by_config():
    common = huggingface_config(SMALL)
    gemma = from_huggingface(
        common
        | {"model_type": "gemma2", "hidden_activation": "gelu_pytorch_tanh"}
        | {"query_pre_attn_scalar": 256, "attn_logit_softcapping": 50.0}
        | {"final_logit_softcapping": 30.0, "sliding_window": 16}
    )
    assert (gemma.embedding_scale, gemma.attention_scale) == (8.0, 1 / 16)
    assert [gemma.layer_window(layer) for layer in range(2)] == [16, 0]
    assert gemma.post_norms
    assert gemma.tied
    qwen2 = from_huggingface(common | {"model_type": "qwen2"})
    qwen3 = from_huggingface(common | {"model_type": "qwen3"})
    assert (qwen2.qkv_bias, qwen2.qk_norm) == (True, False)
    assert (qwen3.qkv_bias, qwen3.qk_norm) == (False, True)


@pytest.mark.parametrize(
    ("family", "hidden", "heads", "head_dim", "scalar"),
    [  # query_pre_attn_scalar of the published configs: 2B, 9B, 27B; 4B, 27B
        ("gemma2", 2304, 8, 256, 256),
        ("gemma2", 3584, 16, 256, 256),
        ("gemma2", 4608, 32, 128, 144),
        ("gemma3", 2560, 8, 256, 256),
        ("gemma3", 5376, 32, 128, 168),
    ],
)
def test_gguf_gemma_scales_queries_as_published(family, hidden, heads, head_dim, scalar):
    own = {
        "embedding_length": hidden,
        "attention.head_count": heads,
        "attention.key_length": head_dim,
        "context_length": 64,
        "feed_forward_length": 64,
        "block_count": 1,
        "vocab_size": 8,
    }
    metadata = {f"{family}.{key}": value for key, value in own.items()}
    metadata["general.architecture"] = family
    config = from_gguf(metadata, tied=True, rope_divisors=None)
    assert config.attention_scale == pytest.approx(scalar**-0.5)


def test_hostile_gguf_sizes_allocate_nothing(tmp_path):
    path = tmp_path / "big.gguf"
    for head in (
        struct.pack("<4sIQQ", b"GGUF", 3, 1 << 60, 0),
        struct.pack("<4sIQQQ", b"GGUF", 3, 0, 1, 1 << 62),
        struct.pack("<4sIQQQ1sIIQ", b"GGUF", 3, 0, 1, 1, b"a", 9, 4, 1 << 22),
    ):
        path.write_bytes(head)
        with pytest.raises(ModelError, match=r"entries|bytes|cut short"):
            GgufModel(path)
