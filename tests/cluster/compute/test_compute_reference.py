import numpy as np
import pytest
from cluster_models import (
    STORIES,
    configs,
    device_weights,
    golden_prompts,
    needs_stories,
    reference_engines,
    synthetic,
    tokens_of,
)
from hypothesis import given, settings

from runtimes.cluster.formats.llama2c import Llama2cModel
from runtimes.cluster.unsplit import run_unsplit
from toolchain.errors import ModelError, UsageError

SHARES = [[1], [1, 1], [3, 1], [1, 1, 1], [1, 2, 1, 1], [1] * 5, [5, 1, 1, 1, 2]]


@given(configs(), device_weights)
@settings(max_examples=60, deadline=None)
def test_split_equals_unsplit(config, weights):
    source, tokens = synthetic(config), tokens_of(config, 7)
    whole = run_unsplit(reference_engines(source, [1.0]), tokens)
    parts = run_unsplit(reference_engines(source, weights), tokens)
    np.testing.assert_allclose(parts, whole, rtol=2e-4, atol=2e-4 * np.abs(whole).max())


@given(configs(), device_weights)
@settings(max_examples=40, deadline=None)
def test_reproducible_logits_have_equal_bits_on_any_split(config, weights):
    source, tokens = synthetic(config), tokens_of(config, 5)
    whole = run_unsplit(reference_engines(source, [1.0], reproducible=True), tokens)
    parts = reference_engines(source, weights, reproducible=True)
    assert run_unsplit(parts, tokens).tobytes() == whole.tobytes()


@given(configs())
@settings(max_examples=30, deadline=None)
def test_a_prompt_in_chunks_equals_token_by_token(config):
    source, tokens = synthetic(config), tokens_of(config, 9)
    whole = run_unsplit(reference_engines(source, [1.0]), tokens)
    engines = reference_engines(source, [1.0])
    steps = [run_unsplit(engines, tokens[i : i + 1], position=i) for i in range(9)]
    np.testing.assert_allclose(
        np.concatenate(steps), whole, rtol=1e-3, atol=1e-4 * np.abs(whole).max()
    )


def greedy(engines, prompt, count):
    """Greedy ids after a prompt and the logits that followed the prompt."""
    logits = first = run_unsplit(engines, np.array(prompt))[-1]
    ids = []
    for position in range(len(prompt), len(prompt) + count):
        ids.append(int(logits.argmax()))
        logits = run_unsplit(engines, np.array(ids[-1:]), position=position)[-1]
    return ids, first


@needs_stories
@pytest.mark.parametrize("weights", SHARES, ids=str)
def test_golden_text_and_logits(weights):
    source = Llama2cModel(STORIES / "stories260K.bin")
    for golden in golden_prompts():
        engines = reference_engines(source, weights)
        ids, logits = greedy(engines, golden["prompt_ids"], len(golden["greedy_ids"]))
        assert ids == golden["greedy_ids"]
        np.testing.assert_allclose(logits, golden["logits_after_prompt"], atol=5e-5)


@needs_stories
def test_golden_reproducible_logits_have_equal_bits_on_any_split():
    source = Llama2cModel(STORIES / "stories260K.bin")
    golden = next(iter(golden_prompts()))
    runs = [
        run_unsplit(
            reference_engines(source, weights, reproducible=True), np.array(golden["prompt_ids"])
        )
        for weights in SHARES
    ]
    assert len({run.tobytes() for run in runs}) == 1
    np.testing.assert_allclose(runs[0][-1], golden["logits_after_prompt"], atol=1e-4)


def test_tokens_and_positions_outside_are_refused():
    from toolchain.cluster.config import ModelConfig

    config = ModelConfig("x", 8, 8, 1, 2, 1, 4, 10, 16)
    (engine,) = reference_engines(synthetic(config), [1.0])
    with pytest.raises(UsageError, match="vocabulary"):
        engine.embed(np.array([10]))
    with pytest.raises(UsageError, match="outside a cache"):
        run_unsplit([engine], np.array([1, 2]), position=15)
    with pytest.raises(UsageError, match="outside a cache"):
        run_unsplit([engine], np.array([1]), slot=1)


@needs_stories
@pytest.mark.parametrize("keep", [0, 3, 28, 1000])
def test_truncated_llama2c_files_are_refused(keep, tmp_path):
    short = tmp_path / "short.bin"
    short.write_bytes((STORIES / "stories260K.bin").read_bytes()[:keep])
    with pytest.raises(ModelError, match="file"):
        Llama2cModel(short)
