"""The ASGI application without a server: where requests are answered, and what holds them up."""

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import service

ROW = b"39.1,18.7,181,3750\n"
CSV = [(b"content-type", b"text/csv")]


# A thread for the event loop: another test's browser may have one running in this.
loop = ThreadPoolExecutor(1)
LOOP_THREAD = loop.submit(threading.current_thread).result()


def run(coroutine):
    return loop.submit(asyncio.run, coroutine).result()


@pytest.fixture
def application(trained, monkeypatch, capsys):
    monkeypatch.setenv("SAGEMAKER_BASE_DIR", str(trained.base))
    import asgi

    return asgi.Application(service.load(trained.model))


async def ask(application, path="/invocations", parts=(ROW,), method="POST", headers=CSV):
    """The messages that the application sends."""
    waiting, sent = list(parts), []

    async def receive():
        await asyncio.sleep(0)
        part = waiting.pop(0)
        if part is None:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": part, "more_body": bool(waiting)}

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": method, "path": path, "headers": headers}
    await application(scope, receive, send)
    return sent


def answer(application, **request):
    start, body = run(ask(application, **request))
    return start["status"], body["body"]


@pytest.fixture
def answering(monkeypatch):
    """The threads that answer invocations; each answer takes `seconds`."""
    found, real = [], service.invocations

    def slow(*arguments):
        found.append(threading.current_thread())
        time.sleep(slow.seconds)
        return real(*arguments)

    slow.seconds, slow.threads = 0.0, found
    monkeypatch.setattr(service, "invocations", slow)
    return slow


def test_a_small_request_is_answered_in_the_loop_and_a_large_one_in_a_thread(
    application, answering
):
    assert answer(application) == (200, b"Adelie\n")
    assert answer(application, parts=[ROW * 2000]) == (200, b"Adelie\n" * 2000)
    assert answer(application, parts=[ROW, ROW]) == (200, b"Adelie\n" * 2)
    here = [thread is LOOP_THREAD for thread in answering.threads]
    assert here == [True, False, False]


def test_a_slow_model_moves_to_threads_and_the_loop_stays_free(application, answering):
    answering.seconds = 0.2
    answer(application)
    assert answering.threads.pop() is LOOP_THREAD  # nobody knew

    async def both():
        invocation = asyncio.create_task(ask(application))
        await asyncio.sleep(0.05)
        ping = await ask(application, "/ping", method="GET")
        return ping[0]["status"], invocation.done(), (await invocation)[0]["status"]

    assert run(both()) == (200, False, 200)
    assert answering.threads.pop() is not LOOP_THREAD
    answering.seconds = 0.0
    for _ in range(40):
        answer(application)
    assert answering.threads.pop() is LOOP_THREAD  # quick again


def test_only_so_many_large_bodies_are_in_memory_at_a_time(application, answering):
    import asgi

    answering.seconds = 0.1

    async def many():
        requests = [[ROW, ROW, ROW] for _ in range(2 * asgi.PLACES)]

        async def one(body):
            async def receive():
                part = body.pop(0)
                return {"type": "http.request", "body": part, "more_body": bool(body)}

            async def send(message):
                pass

            scope = {"type": "http", "method": "POST", "path": "/invocations", "headers": CSV}
            await application(scope, receive, send)

        tasks = [asyncio.create_task(one(body)) for body in requests]
        await asyncio.sleep(0.03)
        begun = sum(len(body) == 2 for body in requests)  # whose rest has not been asked for
        await asyncio.gather(*tasks)
        return begun

    assert run(many()) == asgi.PLACES
    assert len(answering.threads) == 2 * asgi.PLACES


def test_a_caller_who_leaves_gets_nothing_and_holds_no_place(application, answering):
    import asgi

    for _ in range(2 * asgi.PLACES):
        assert run(ask(application, parts=[ROW, ROW, None])) == []
    assert run(ask(application, parts=[None])) == []
    assert answering.threads == []
    assert answer(application, parts=[ROW, ROW])[0] == 200


def test_the_body_is_read_no_further_than_the_limit(application, monkeypatch):
    monkeypatch.setattr(service, "MAX_BYTES", 10)
    status, body = answer(application, parts=[b"1234567890", b"1", None])  # None is never reached
    assert status == 413
    assert b"The body is over" in body


def test_without_a_model_every_answer_is_503(application):
    application.served = "The model can't be used: no file."
    assert answer(application)[0] == 503
    assert answer(application, path="/ping", method="GET")[0] == 503
