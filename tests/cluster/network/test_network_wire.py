"""Frames, messages and payloads: what goes in comes out, what is foreign is refused."""

import contextlib
import dataclasses
import json
import typing

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from runtimes.cluster import messages as m
from runtimes.cluster.exchange import add_in_rank_order
from runtimes.cluster.payload import Codec
from runtimes.cluster.wire import HEADER_BYTES, Encoding, Frame, Header, Kind, WireError, parse

U8, U16, U32 = (st.integers(0, (1 << bits) - 1) for bits in (8, 16, 32))
HEADERS = st.builds(
    Header,
    kind=st.sampled_from(Kind),
    epoch=U32,
    step=U32,
    block=U16,
    slot=U16,
    position=U32,
    rows=U16,
    wanted=U16,
    sender=U8,
    stage=U8,
    encoding=st.sampled_from(Encoding),
)
TEXT = st.text(max_size=20)
NUMBER = st.integers(0, 1 << 40)
SHARD = st.builds(m.ShardInfo, NUMBER, st.from_regex(r"[0-9a-f]{64}", fullmatch=True), NUMBER)


def _fields(kind):
    by_type = {
        int: NUMBER,
        str: TEXT,
        bool: st.booleans(),
        tuple[int, ...]: st.lists(NUMBER, max_size=3).map(tuple),
        tuple[str, ...]: st.lists(TEXT, max_size=3).map(tuple),
        tuple[m.ShardInfo, ...]: st.lists(SHARD, max_size=2).map(tuple),
        tuple[m.Member, ...]: st.lists(
            st.builds(m.Member, TEXT, TEXT, st.lists(NUMBER, max_size=2).map(tuple)), max_size=2
        ).map(tuple),
    }
    return {name: by_type[kind_] for name, kind_ in typing.get_type_hints(kind).items()}


MESSAGES = st.one_of([st.builds(kind, **_fields(kind)) for kind in typing.get_args(m.Message)])


@given(HEADERS, st.binary(max_size=100))
def test_frame_round_trip(header, payload):
    header = dataclasses.replace(header, length=len(payload))
    assert parse(header.pack() + payload) == Frame(header, memoryview(payload))
    assert len(header.pack()) == HEADER_BYTES


@given(st.binary(max_size=80))
def test_random_bytes_are_no_frame(data):
    with pytest.raises(WireError):
        parse(data)


@given(HEADERS, st.binary(max_size=40), st.data())
def test_a_frame_of_another_length_is_refused(header, payload, data):
    frame = dataclasses.replace(header, length=len(payload)).pack() + payload
    cut = data.draw(st.integers(0, len(frame) - 1))
    with pytest.raises(WireError, match="malformed frame"):
        parse(frame[:cut])
    with pytest.raises(WireError, match="malformed frame"):
        parse(frame + b"x")


def test_another_version_is_named():
    frame = bytearray(Header(Kind.HIDDEN).pack())
    frame[2] = 9
    with pytest.raises(WireError, match="version 9") as caught:
        parse(frame)
    assert (caught.value.code, caught.value.exit_code) == ("E522", 5)


@given(MESSAGES)
def test_message_round_trip(message):
    assert m.decode(m.encode(message)) == message


@given(MESSAGES, st.data())
def test_a_damaged_message_is_refused_or_equal_in_kind(message, data):
    body = json.loads(m.encode(message))
    junk = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), TEXT, st.lists(TEXT))
    body[data.draw(st.sampled_from(sorted(body)))] = data.draw(junk)
    with contextlib.suppress(WireError):  # and nothing else
        assert isinstance(m.decode(json.dumps(body).encode()), m.Message)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b"{}",
        b'{"message": "hello"}',
        b'{"message": "exec", "code": "1"}',
        b'{"message": "hello", "version": "1", "more": 1}',
        b'{"message": ["hello"], "version": "1"}',
        b'{"message": "probe", "epoch": 1e400}',
        b'{"message": "probe", "epoch": -1}',
        b"[" * 60000,
        b"\xff\xfe",
        b" " * 70000,
    ],
)
def test_hostile_messages_are_refused(text):
    with pytest.raises(WireError):
        m.decode(text)


VALUES = hnp.arrays(np.float32, st.integers(1, 200), elements=st.floats(-1000, 1000, width=32))
RELATIVE = {Encoding.F32: 0.0, Encoding.F16: 2.0**-11, Encoding.INT8: 1 / 250}


@given(VALUES, st.sampled_from(sorted(RELATIVE)))
@settings(deadline=None)
def test_payload_error_is_bounded(values, encoding):
    codec = Codec(encoding, 200)
    data = np.zeros(codec.size(values.size), np.uint8)
    codec.encode(values, data)
    out = np.full_like(values, np.nan)
    codec.decode(memoryview(data), out)
    padded = np.zeros(-(-values.size // 32) * 32, np.float32)
    padded[: values.size] = np.abs(values)
    largest = padded.reshape(-1, 32).max(1).repeat(32)[: values.size]
    # Below 2**-14 an fp16 scale has steps of 2**-24: half of one, 127 times, is 3.8e-6.
    assert (np.abs(out - values) <= largest * RELATIVE[encoding] + 4e-6).all()


@given(VALUES, st.integers(-40, 12))
@settings(deadline=None)
def test_kernels_and_numpy_write_the_same_int8_payload(values, power):
    values = np.ldexp(values, power)
    payloads, results = [], []
    for kernels in (True, False):
        codec = Codec(Encoding.INT8, 200, kernels=kernels)
        payloads.append(np.zeros(codec.size(values.size), np.uint8))
        codec.encode(values, payloads[-1])
        results.append(np.zeros_like(values))
        codec.decode(memoryview(payloads[0]), results[-1])
    np.testing.assert_array_equal(*payloads)
    np.testing.assert_array_equal(*results)


@given(hnp.arrays(np.int64, st.integers(1, 50)))
def test_fixed_point_is_lossless(values):
    codec = Codec(Encoding.FIXED, 50)
    data = np.zeros(codec.size(values.size), np.uint8)
    codec.encode(values, data)
    out = np.zeros_like(values)
    codec.decode(memoryview(data), out)
    np.testing.assert_array_equal(out, values)


@pytest.mark.parametrize("encoding", [Encoding.F32, Encoding.F16, Encoding.INT8, Encoding.FIXED])
def test_a_payload_of_another_length_is_refused(encoding):
    codec = Codec(encoding, 64)
    for wrong in (-1, 1):
        with pytest.raises(WireError, match="payload of"):
            codec.decode(memoryview(bytes(codec.size(64) + wrong)), np.zeros(64, codec.dtype))


def test_infinite_and_nan_partials_stay_visible():
    kinds = [(Encoding.F32, False), (Encoding.F16, False), (Encoding.INT8, False)]
    for encoding, kernels in [*kinds, (Encoding.INT8, True)]:
        codec = Codec(encoding, 32, kernels=kernels)
        values = np.ones(32, np.float32)
        values[3] = np.nan
        data, out = np.zeros(codec.size(32), np.uint8), np.zeros(32, np.float32)
        codec.encode(values, data)
        codec.decode(memoryview(data), out)
        assert np.isnan(out).any()


@given(st.integers(1, 9), st.integers(0, 1000))
def test_rank_order_sum_is_a_sum(ranks, seed):
    parts = np.random.default_rng(seed).integers(-(1 << 40), 1 << 40, (ranks, 7))
    np.testing.assert_array_equal(add_in_rank_order(parts.copy()), parts.sum(0))
