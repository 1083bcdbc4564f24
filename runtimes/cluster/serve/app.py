"""The routes: OpenAI's chat and completions, models, metrics, health."""

from __future__ import annotations

import asyncio
import hmac
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive

from runtimes.cluster.chat import answer_stops
from runtimes.cluster.generate import GUESSES, Finish, Piece
from runtimes.cluster.generate import Request as Generate
from runtimes.cluster.launch import OpenModel
from runtimes.cluster.scheduler import Failure, Notice, Scheduler, Ticket
from runtimes.cluster.serve import schema
from runtimes.cluster.serve.answers import Answer, error_body
from runtimes.cluster.serve.metrics import CONTENT_TYPE, render_metrics
from runtimes.cluster.tokenizer import encode_chat
from toolchain.errors import DeviceError, TesseraError, UsageError

Handler = Callable[["Service", Request], Awaitable[Response]]
_STATUS = {2: 400, 3: 507, 5: 503}
_MAX_TOKEN_BYTES = 256  # more text than this times the context is not even tokenised


@dataclass(frozen=True)
class Service:
    """What the routes answer from.

    Attributes:
        opened: the model.
        scheduler: runs it.
        api_key: that clients must show; empty for none.
        hosts: names by which clients may call this server; empty for any. A page in a browser can
            make a name of its own point at a loopback address; it cannot make it one of these.
        guesses: guessed tokens per pass at most.
    """

    opened: OpenModel
    scheduler: Scheduler
    api_key: str = ""
    hosts: tuple[str, ...] = ()
    guesses: int = GUESSES


def make_app(service: Service) -> Starlette:
    """Make the ASGI application."""
    routes = [
        ("/v1/chat/completions", _chat, "POST"),
        ("/v1/completions", _completions, "POST"),
        ("/v1/models", _models, "GET"),
        ("/v1/models/{model:path}", _model, "GET"),
        ("/metrics", _metrics, "GET"),
        ("/health", _health, "GET"),
    ]
    hosts = [Middleware(TrustedHostMiddleware, allowed_hosts=list(service.hosts))]
    return Starlette(
        routes=[
            Route(path, _guarded(service, handler), methods=[method])
            for path, handler, method in routes
        ],
        middleware=hosts if service.hosts else [],
        exception_handlers={HTTPException: _http_error},
    )


def _guarded(service: Service, handler: Handler) -> Callable[[Request], Awaitable[Response]]:
    """Check the key, and turn errors into answers."""

    async def endpoint(request: Request) -> Response:
        if handler is not _health and not _is_authorized(service.api_key, request):
            return _refusal(401, "E137", "the API key is missing or wrong")
        try:
            return await handler(service, request)
        except TesseraError as error:
            return _failure(error)
        except ClientDisconnect:
            return _refusal(400, "E135", "the client left")

    return endpoint


def _is_authorized(key: str, request: Request) -> bool:
    shown = request.headers.get("authorization", "")
    return not key or hmac.compare_digest(shown.encode(), f"Bearer {key}".encode())


async def _chat(service: Service, request: Request) -> Response:
    values = await _body(request)
    wish, messages = schema.parse_wish(values), schema.parse_messages(values)
    tokenizer = service.opened.tokenizer
    _check_length(service, sum(len(message["content"]) for message in messages))
    prompt = await run_in_threadpool(encode_chat, tokenizer, messages)
    generate = Generate(
        tuple(prompt),
        wish.sampling,
        wish.max_tokens,
        stop=wish.stop + answer_stops(tokenizer),
        guesses=service.guesses,
    )
    return await _answer(service, request, wish, generate, Answer(service.opened.name, True))


async def _completions(service: Service, request: Request) -> Response:
    values = await _body(request)
    wish, prompt = schema.parse_wish(values), schema.parse_prompt(values)
    if isinstance(prompt, str):
        _check_length(service, len(prompt))
        prompt = tuple(await run_in_threadpool(service.opened.tokenizer.encode, prompt))
    elif not 0 <= min(prompt) <= max(prompt) < service.opened.model.config.vocab:
        raise UsageError("E112", "a token id is outside the vocabulary", where="prompt")
    generate = Generate(
        prompt,
        wish.sampling,
        wish.max_tokens,
        stop=wish.stop,
        continues=True,
        guesses=service.guesses,
    )
    return await _answer(service, request, wish, generate, Answer(service.opened.name, False))


async def _models(service: Service, _: Request) -> Response:
    return JSONResponse({"object": "list", "data": [_card(service)]})


async def _model(service: Service, request: Request) -> Response:
    if request.path_params["model"] != service.opened.name:
        return _refusal(404, "E138", f"the only model here is {service.opened.name}")
    return JSONResponse(_card(service))


async def _metrics(service: Service, _: Request) -> Response:
    text = render_metrics(service.scheduler, service.opened.losses)
    return PlainTextResponse(text, media_type=CONTENT_TYPE)


async def _health(_service: Service, _: Request) -> Response:
    return JSONResponse({"status": "ok"})


def _card(service: Service) -> dict[str, Any]:
    return {
        "id": service.opened.name,
        "object": "model",
        "created": 0,
        "owned_by": "tessera",
        "context_length": service.opened.model.capacity,
    }


async def _answer(
    service: Service, request: Request, wish: schema.Wish, generate: Generate, answer: Answer
) -> Response:
    """Submit, and answer whole or as a stream; a client that leaves cancels."""
    loop, queue = asyncio.get_running_loop(), asyncio.Queue[Notice]()

    def tell(notice: Notice) -> None:
        loop.call_soon_threadsafe(queue.put_nowait, notice)

    ticket = service.scheduler.submit(generate, tell)
    notices = _notices(queue, ticket, request.receive)
    if wish.stream:
        events = _stream(notices, answer, wish)
        return StreamingResponse(events, media_type="text/event-stream", headers=_NO_CACHE)
    text = ""
    async for notice in notices:
        match notice:
            case Failure(error):
                return _failure(error)
            case Piece(_, piece):
                text += piece
            case Finish():
                return JSONResponse(answer.whole(text, notice))
    raise RuntimeError("a generation without an end")


_NO_CACHE = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}


async def _notices(
    queue: asyncio.Queue[Notice], ticket: Ticket, receive: Receive
) -> AsyncIterator[Notice]:
    """Pass on what the scheduler tells, until the end."""
    watch = asyncio.create_task(_cancel_when_gone(ticket, receive))
    try:
        while True:
            notice = await queue.get()
            yield notice
            if isinstance(notice, Finish | Failure):
                return
    finally:
        watch.cancel()
        ticket.cancel()


async def _cancel_when_gone(ticket: Ticket, receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    ticket.cancel()


async def _stream(
    notices: AsyncIterator[Notice], answer: Answer, wish: schema.Wish
) -> AsyncIterator[bytes]:
    """Server-sent events, as the OpenAI API ends them."""
    for event in answer.opening():
        yield _event(event)
    async for notice in notices:
        match notice:
            case Failure(error):
                yield _event(error_body(error))
            case Piece(_, piece) if piece:
                yield _event(answer.piece(piece))
            case Finish():
                for event in answer.ending(notice, with_usage=wish.usage):
                    yield _event(event)
    yield b"data: [DONE]\n\n"


def _event(values: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(values, ensure_ascii=False).encode() + b"\n\n"


async def _body(request: Request) -> dict[str, Any]:
    """Read a JSON body of bounded size.

    Other types are refused: a browser sends those across origins without asking.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise UsageError("E135", "the body must be of type application/json")
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > schema.MAX_BODY:
            raise HTTPException(413, f"the body is larger than {schema.MAX_BODY} bytes")
    return schema.parse_json(bytes(body))


def _check_length(service: Service, characters: int) -> None:
    """Refuse a text that cannot fit, before tokenising it."""
    capacity = service.opened.model.capacity
    if characters > capacity * _MAX_TOKEN_BYTES:
        raise UsageError(
            "E130", f"the prompt has {characters} characters, the context {capacity} tokens"
        )


def _failure(error: TesseraError) -> JSONResponse:
    headers = {"Retry-After": "1"} if isinstance(error, DeviceError) else None
    return JSONResponse(error_body(error), _STATUS.get(error.exit_code, 500), headers)


def _refusal(status: int, code: str, what: str) -> JSONResponse:
    return JSONResponse(error_body(UsageError(code, what)), status)


async def _http_error(_: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    return _refusal(error.status_code, "E138", error.detail)
