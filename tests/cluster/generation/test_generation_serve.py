"""The server over a real socket, in a process of its own."""

import contextlib
import json
import socket
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from generation_models import STORIES, golden_prompts, needs_stories, write_small_shards
from generation_server import ServerProcess
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from toolchain.cli.main import main

TEMPLATE = (
    "{% for m in messages %}{% if m.role == 'system' and not loop.first %}"
    "{{ raise_exception('system comes first') }}{% endif %}"
    "{{ m.role }}: {{ m.content }}\n{% endfor %}assistant:"
)
CHAT, TEXT = "/v1/chat/completions", "/v1/completions"
HELLO = {"messages": [{"role": "user", "content": "the cat"}], "temperature": 0, "max_tokens": 12}


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    folder = tmp_path_factory.mktemp("serve")
    return write_small_shards(folder, template=TEMPLATE, eos=()).path


@pytest.fixture(scope="module")
def server(shards, tmp_path_factory):
    log = tmp_path_factory.mktemp("log") / "log"
    process = ServerProcess(shards, "--slots", "3", log=log)
    with contextlib.closing(process):
        yield process
    assert process.process.returncode == 0
    assert "Traceback" not in log.read_text()


def text_of_stream(events):
    choices = [choice for event in events for choice in event["choices"]]
    return "".join(c["text"] if "text" in c else c["delta"].get("content", "") for c in choices)


def test_a_chat_streamed_is_the_chat_in_one_piece(server):
    status, whole = server.post(CHAT, HELLO)
    assert status == 200
    (choice,) = whole["choices"]
    assert choice["message"]["role"] == "assistant"
    assert choice["finish_reason"] == "length"
    assert whole["usage"]["completion_tokens"] == 12
    events = server.stream(CHAT, {**HELLO, "stream_options": {"include_usage": True}})
    assert text_of_stream(events) == choice["message"]["content"]
    assert events[0]["choices"][0]["delta"]["role"] == "assistant"
    assert events[-2]["choices"][0]["finish_reason"] == "length"
    assert events[-1]["usage"]["completion_tokens"] == 12
    assert len({event["id"] for event in events}) == 1


@pytest.mark.parametrize("prompt", ["the cat sat", ["the cat sat"], [1, 259, 260, 261]])
def test_a_completion_streamed_is_the_completion_in_one_piece(server, prompt):
    body = {"prompt": prompt, "seed": 5, "temperature": 0.9, "max_tokens": 10}
    status, whole = server.post(TEXT, body)
    assert status == 200
    assert text_of_stream(server.stream(TEXT, body)) == whole["choices"][0]["text"]


def test_a_stop_string_ends_an_answer(server):
    _, whole = server.post(TEXT, {"prompt": "the cat", "temperature": 0, "max_tokens": 30})
    text = whole["choices"][0]["text"]
    stop = text[len(text) // 2 :][:3]
    body = {"prompt": "the cat", "temperature": 0, "max_tokens": 30, "stop": [stop]}
    _, cut = server.post(TEXT, body)
    assert cut["choices"][0]["text"] == text[: text.index(stop)]
    assert cut["choices"][0]["finish_reason"] == "stop"


def test_requests_at_a_time_get_the_text_they_get_alone(server):
    bodies = [
        {"prompt": "the cat " * (1 + 7 * (i % 3)), "seed": i, "temperature": 1.0, "max_tokens": 25}
        for i in range(7)  # more than slots, long prompts among them
    ]
    alone = [server.post(TEXT, body)[1]["choices"][0]["text"] for body in bodies]
    with ThreadPoolExecutor(len(bodies)) as pool:
        together = list(pool.map(lambda body: server.stream(TEXT, body), bodies))
    assert [text_of_stream(events) for events in together] == alone


def test_the_next_turn_reads_only_its_news(server):
    first = {**HELLO, "messages": [{"role": "user", "content": "once on a mat sat a cat"}]}
    _, answer = server.post(CHAT, first)
    text = answer["choices"][0]["message"]["content"]
    turn = [{"role": "assistant", "content": text}, {"role": "user", "content": "on"}]
    _, second = server.post(CHAT, {**HELLO, "messages": first["messages"] + turn})
    cached = second["usage"]["prompt_tokens_details"]["cached_tokens"]
    assert cached >= answer["usage"]["prompt_tokens"] - 1


def test_a_client_that_leaves_frees_its_slot(server):
    before = server.metrics()['requests_total{outcome="cancel"}']
    body = {"prompt": "the", "temperature": 1.0, "stream": True}  # until the context is full
    for whole in (False, True):
        connection = server.connect()
        payload = json.dumps({**body, "stream": not whole})
        connection.request("POST", TEXT, payload, server.headers({}))
        if not whole:
            connection.getresponse().read(40)
        else:
            time.sleep(0.02)
        connection.sock.close()
        connection.close()
    deadline = time.monotonic() + 10
    while server.metrics()["requests_running"] and time.monotonic() < deadline:
        time.sleep(0.02)
    assert server.metrics()["requests_running"] == 0
    assert server.metrics()['requests_total{outcome="cancel"}'] > before


def test_models_health_and_metrics(server, shards):
    status, text = server.request("GET", "/v1/models")
    assert status == 200
    (card,) = json.loads(text)["data"]
    assert card["id"] == shards.name
    assert server.request("GET", f"/v1/models/{card['id']}")[0] == 200
    assert server.request("GET", "/v1/models/gpt")[0] == 404
    assert json.loads(server.request("GET", "/health")[1]) == {"status": "ok"}
    before = server.metrics()
    server.post(CHAT, HELLO)
    after = server.metrics()
    assert after["generated_tokens_total"] - before["generated_tokens_total"] == 12
    assert after['requests_total{outcome="length"}'] > before['requests_total{outcome="length"}']
    assert after["first_token_seconds_count"] == before["first_token_seconds_count"] + 1


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        (CHAT, b"{", 400, "E135"),
        (CHAT, b"[" * 100_000, 400, "E135"),
        (CHAT, b"\xff\xfe", 400, "E135"),
        (CHAT, [], 400, "E135"),
        (CHAT, {}, 400, "E135"),
        (CHAT, {"messages": []}, 400, "E135"),
        (CHAT, {"messages": ["hi"]}, 400, "E135"),
        (CHAT, {"messages": [{"role": "root", "content": "hi"}]}, 400, "E135"),
        (CHAT, {"messages": [{"role": "user", "content": 5}]}, 400, "E135"),
        (CHAT, {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, 400, "E136"),
        (
            CHAT,
            {"messages": [HELLO["messages"][0], {"role": "system", "content": "x"}]},
            400,
            "E227",
        ),
        (CHAT, {**HELLO, "n": 2}, 400, "E136"),
        (CHAT, {**HELLO, "tools": [{}]}, 400, "E136"),
        (CHAT, {**HELLO, "temperature": -1}, 400, "E119"),
        (CHAT, {**HELLO, "temperature": "hot"}, 400, "E135"),
        (CHAT, {**HELLO, "temperature": True}, 400, "E135"),
        (CHAT, {**HELLO, "top_p": float("nan")}, 400, "E119"),
        (CHAT, {**HELLO, "max_tokens": 0}, 400, "E131"),
        (CHAT, {**HELLO, "max_tokens": 1.5}, 400, "E135"),
        (CHAT, {**HELLO, "stop": [""]}, 400, "E135"),
        (CHAT, {**HELLO, "stop": {"a": 1}}, 400, "E135"),
        (CHAT, {**HELLO, "stream": "yes"}, 400, "E135"),
        (CHAT, {**HELLO, "stream_options": [1]}, 400, "E135"),
        (CHAT, {"messages": [{"role": "user", "content": "x" * 300}]}, 400, "E130"),
        (CHAT, {"messages": [{"role": "user", "content": "x" * 300_000}]}, 400, "E130"),
        (CHAT, b" " * (3 << 20), 413, "E138"),
        (TEXT, {}, 400, "E135"),
        (TEXT, {"prompt": ["a", "b"]}, 400, "E135"),
        (TEXT, {"prompt": [1, -1]}, 400, "E112"),
        (TEXT, {"prompt": [1, 10**30]}, 400, "E112"),
        (TEXT, {"prompt": [True]}, 400, "E135"),
        (TEXT, {"prompt": []}, 400, "E135"),
    ],
)
def test_hostile_bodies_get_a_clean_answer(server, path, body, status, code):
    actual, answer = server.post(path, body)
    assert actual == status, answer
    assert answer["error"]["code"] == code
    assert answer["error"]["type"] == "invalid_request_error"
    assert server.post(CHAT, {**HELLO, "max_tokens": 1})[0] == 200


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda children: (
        st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=4), children)
    ),
    max_leaves=8,
)
FIELDS = st.sampled_from(
    ["messages", "prompt", "stop", "seed", "temperature", "top_k", "stream_options", "logprobs"]
)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(values=st.dictionaries(FIELDS, VALUES, max_size=4), path=st.sampled_from([CHAT, TEXT]))
def test_no_body_is_an_internal_error(server, values, path):
    status, answer = server.post(path, {"max_tokens": 1, **values})
    assert status in (200, 400), (values, answer)


def test_half_surrogates_are_replaced(server):
    body = json.dumps({"prompt": "a", "max_tokens": 1}).replace('"a"', '"\\ud800"').encode()
    assert server.post(TEXT, body)[0] == 200


def test_browsers_cannot_be_made_to_ask(server):
    plain = {"Content_Type": "text/plain"}
    assert server.post(CHAT, HELLO, **plain)[0] == 400
    assert server.request("GET", "/v1/models", Host="evil.example")[0] == 400
    assert server.request("GET", "/v1/models", Host=f"[::1]:{server.port}")[0] == 200
    assert server.request("GET", "/nowhere")[0] == 404
    assert server.request("GET", CHAT)[0] == 405


def test_a_key_is_asked_for(shards, tmp_path):
    with contextlib.closing(ServerProcess(shards, log=tmp_path / "log", key="secret")) as server:
        assert server.post(CHAT, HELLO)[0] == 200
        status, answer = server.post(CHAT, HELLO, Authorization="Bearer wrong")
        assert (status, answer["error"]["code"]) == (401, "E137")
        assert server.request("GET", "/metrics", Authorization="")[0] == 401
        assert server.request("GET", "/health", Authorization="")[0] == 200


def test_a_port_in_use_is_one_clear_line(shards, capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["cluster", "serve", str(shards), "--port", str(port)]) == 2
    assert f"127.0.0.1:{port}: port in use" in capsys.readouterr().err


def test_others_need_a_key_or_consent(shards, capsys, monkeypatch):
    monkeypatch.delenv("TESSERA_API_KEY", raising=False)
    assert main(["cluster", "serve", str(shards), "--host", "0.0.0.0"]) == 2
    assert "TESSERA_API_KEY" in capsys.readouterr().err


def test_the_openai_client_works(server):
    openai = pytest.importorskip("openai")
    with openai.OpenAI(base_url=server.url, api_key="none", max_retries=0) as client:
        (model,) = client.models.list().data
        whole = client.chat.completions.create(model=model.id, **HELLO)
        stream = client.chat.completions.create(model=model.id, stream=True, **HELLO)
        pieces = [chunk.choices[0].delta.content or "" for chunk in stream]
        assert "".join(pieces) == whole.choices[0].message.content
        with pytest.raises(openai.BadRequestError, match="no room is left"):
            client.completions.create(model=model.id, prompt=[5] * 300)


@needs_stories
def test_the_golden_story_over_http(tmp_path):
    shards = tmp_path / "stories"
    model = STORIES / "stories260K.bin"
    convert = ["cluster", "convert", str(model), "-o", str(shards), "--bits", "32", "-n", "2", "-q"]
    assert main(convert) == 0
    golden = list(golden_prompts().values())
    log = tmp_path / "log"
    with contextlib.closing(ServerProcess(shards, "--kv", "f32", log=log)) as server:
        for case in golden:
            body = {"prompt": case["prompt_ids"], "temperature": 0}
            body["max_tokens"] = len(case["greedy_ids"])
            _, whole = server.post(TEXT, body)
            assert case["text"].endswith(whole["choices"][0]["text"])
            assert whole["usage"]["completion_tokens"] == len(case["greedy_ids"])
