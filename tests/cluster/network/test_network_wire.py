"""Frames, messages and payloads: what goes in comes out, what is foreign is refused."""

import contextlib
import json
import typing

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from runtimes.cluster import messages as m
from runtimes.cluster.array_codec import add_in_rank_order
from runtimes.cluster.arrays import array_of, rows_of
from runtimes.cluster.buffers import Buffer, Rows
from runtimes.cluster.payload import open_codec, payload_bytes
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
    header = header._replace(length=len(payload))
    assert parse(header.pack() + payload) == Frame(header, memoryview(payload))
    assert len(header.pack()) == HEADER_BYTES


@given(st.binary(max_size=80))
def test_random_bytes_are_no_frame(data):
    with pytest.raises(WireError):
        parse(data)


@given(HEADERS, st.binary(max_size=40), st.data())
def test_a_frame_of_another_length_is_refused(header, payload, data):
    frame = header._replace(length=len(payload)).pack() + payload
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


def payload_of(values, encoding, *, kernels=True):
    """The bytes of an array, and what they stand for."""
    rows = rows_of(values[None])
    codec = open_codec(encoding, 200, kernels=kernels)
    data = Buffer.zeros(payload_bytes(encoding, rows.size))
    codec.encode(rows, data)
    out = rows_of(np.full_like(values[None], 77))
    codec.decode(data.view, out)
    return bytes(data.view), array_of(out)[0]


@given(VALUES, st.sampled_from(sorted(RELATIVE)), st.booleans())
@settings(deadline=None)
def test_payload_error_is_bounded(values, encoding, kernels):
    _, out = payload_of(values, encoding, kernels=kernels)
    padded = np.zeros(-(-values.size // 32) * 32, np.float32)
    padded[: values.size] = np.abs(values)
    largest = padded.reshape(-1, 32).max(1).repeat(32)[: values.size]
    # Below 2**-14 an fp16 scale has steps of 2**-24: half of one, 127 times, is 3.8e-6.
    assert (np.abs(out - values) <= largest * RELATIVE[encoding] + 4e-6).all()


@given(VALUES, st.integers(-40, 12), st.sampled_from(sorted(RELATIVE)))
@settings(deadline=None)
def test_kernels_and_numpy_write_and_read_the_same_payload(values, power, encoding):
    values = np.ldexp(values, power)
    with_kernels, with_numpy = (payload_of(values, encoding, kernels=k) for k in (True, False))
    assert with_kernels[0] == with_numpy[0]
    np.testing.assert_array_equal(with_kernels[1], with_numpy[1])


@given(hnp.arrays(np.int64, st.integers(1, 50)), st.booleans())
def test_fixed_point_is_lossless(values, kernels):
    np.testing.assert_array_equal(payload_of(values, Encoding.FIXED, kernels=kernels)[1], values)


@pytest.mark.parametrize("kernels", [True, False])
@pytest.mark.parametrize("encoding", [Encoding.F32, Encoding.F16, Encoding.INT8, Encoding.FIXED])
def test_a_payload_of_another_length_is_refused(encoding, kernels):
    codec = open_codec(encoding, 64, kernels=kernels)
    out = Rows.empty(1, 64, fixed=encoding is Encoding.FIXED)
    for wrong in (-1, 1):
        with pytest.raises(WireError, match="payload of"):
            codec.decode(memoryview(bytes(payload_bytes(encoding, 64) + wrong)), out)


@pytest.mark.parametrize("kernels", [True, False])
@pytest.mark.parametrize("encoding", [Encoding.F32, Encoding.F16, Encoding.INT8])
def test_infinite_and_nan_partials_stay_visible(encoding, kernels):
    values = np.ones(32, np.float32)
    values[3] = np.nan
    assert np.isnan(payload_of(values, encoding, kernels=kernels)[1]).any()


@given(st.integers(1, 9), st.integers(0, 1000))
def test_rank_order_sum_is_a_sum(ranks, seed):
    parts = np.random.default_rng(seed).integers(-(1 << 40), 1 << 40, (ranks, 7))
    np.testing.assert_array_equal(add_in_rank_order(parts.copy()), parts.sum(0))


@given(st.integers(1, 9), st.integers(1, 50), st.sampled_from([Encoding.F32, Encoding.FIXED]))
def test_kernels_add_ranks_in_the_same_order(ranks, values, encoding):
    parts = np.random.default_rng(values).standard_normal((ranks, values), np.float32)
    if encoding is Encoding.FIXED:
        parts = (parts * 2.0**59).astype(np.int64)
    expected = add_in_rank_order(parts.copy())
    open_codec(encoding, values).add_ranks(rows_of(parts))
    np.testing.assert_array_equal(parts[0], expected)
