"""Several workers: one answer for all, whatever becomes of any of them."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import anyio
import pytest

import daemun
import daemun_prometheus
from daemun import Observer, SettingsError
from daemun.testing import Answer, Wire, eventually, make_request

pytestmark = pytest.mark.anyio

OTHER_WORKER = """
import sys
from pathlib import Path

import anyio

from daemun import ObserverContext, Worker
from daemun.testing import make_request
from daemun_prometheus import PrometheusSettings, daemun_observers


class Busy:
    connections, exchanges, routes, generation, draining = 7, 3, 1, 1, False

    def backends(self):
        return ()


async def main(folder, admin, requests):
    (kind,) = daemun_observers()
    context = ObserverContext("prometheus", folder, Busy(), Worker(1, 2, folder))
    async with kind.build(PrometheusSettings(bind=f"unix:{admin}"), context) as observer:
        for number in range(requests):
            request = make_request()
            request.exchange.route, request.exchange.status = f"r{number % 2}", 200
            observer.finished(request, None, request.exchange)
        print("counted", flush=True)
        await anyio.sleep_forever()


anyio.run(main, Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
"""


class Processes:
    """Workers of index 1 in processes of their own."""

    def __init__(self, crew: Any) -> None:
        self._crew = crew
        self._started: list[subprocess.Popen[str]] = []

    async def start(self, requests: int) -> subprocess.Popen[str]:
        """A worker that has counted `requests`."""
        return await anyio.to_thread.run_sync(self._start, requests)

    def _start(self, requests: int) -> subprocess.Popen[str]:
        roots = [str(Path(module.__file__).parents[1]) for module in (daemun, daemun_prometheus) if module.__file__]
        process = subprocess.Popen(
            [sys.executable, "-c", OTHER_WORKER, str(self._crew.folder), str(self._crew.admin), str(requests)],
            stdout=subprocess.PIPE,
            text=True,
            env={"PYTHONPATH": ":".join(roots)},
        )
        self._started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "counted\n"
        return process

    async def kill(self, process: subprocess.Popen[str]) -> None:
        """SIGKILL."""
        process.kill()
        await anyio.to_thread.run_sync(process.wait)

    def close(self) -> None:
        for process in self._started:
            process.kill()
            process.wait()
            assert process.stdout is not None
            process.stdout.close()


@pytest.fixture
def processes(crew: Any) -> Iterator[Processes]:
    started = Processes(crew)
    yield started
    started.close()


def count(observer: Observer, times: int = 1, route: str = "r0") -> None:
    for _ in range(times):
        request = make_request()
        request.exchange.route, request.exchange.status, request.exchange.sent_bytes = route, 200, 10
        observer.finished(request, None, request.exchange)


def requests(scraped: Any, route: str = "r0") -> float:
    value: float = scraped.value("daemun_requests_total", route=route, status="200", reason="")
    return value


async def test_counts_and_histograms_are_summed(crew: Any) -> None:
    async with crew.worker(0) as first, crew.worker(1) as second:
        count(first, 2)
        count(second, 3)
        count(second, 1, "only there")
        scraped = await crew.scrape()
    assert requests(scraped) == 5
    assert requests(scraped, "only there") == 1
    assert scraped.value("daemun_sent_bytes_total", route="r0") == 50
    assert scraped.value("daemun_request_duration_seconds_count", route="r0") == 5
    assert scraped.value("daemun_request_duration_seconds_bucket", route="r0", le="+Inf") == 5
    assert scraped.value("daemun_workers") == 2


async def test_what_is_true_of_each_worker_is_summed_or_told_apart(crew: Any, processes: Processes) -> None:
    async with crew.worker(0) as observer:
        count(observer)
        await processes.start(1)
        scraped = await crew.scrape()
    assert scraped.value("daemun_connections") == 7
    assert scraped.value("daemun_requests_in_flight") == 3
    assert {labels["worker"] for labels in scraped.label_sets("daemun_generation")} == {"0", "1"}
    assert {labels["worker"] for labels in scraped.label_sets("process_resident_memory_bytes")} == {"0", "1"}


async def test_what_a_killed_worker_counted_stays_and_its_successor_goes_on(crew: Any, processes: Processes) -> None:
    async with crew.worker(0) as observer:
        count(observer, 4)
        killed = await processes.start(10)
        scraped = await crew.scrape()
        assert (requests(scraped), requests(scraped, "r1")) == (9, 5)
        await processes.kill(killed)
        scraped = await crew.scrape()
        assert (requests(scraped), requests(scraped, "r1")) == (9, 5)
        await processes.start(4)
        scraped = await crew.scrape()
        assert (requests(scraped), requests(scraped, "r1")) == (11, 7)
        assert len(list(crew.folder.glob("*.cells"))) == 2


async def test_gauges_of_a_killed_worker_vanish(crew: Any, processes: Processes) -> None:
    async with crew.worker(0):
        killed = await processes.start(1)
        assert (await crew.scrape()).value("daemun_connections") == 7
        await processes.kill(killed)
        scraped = await crew.scrape()
    assert scraped.value("daemun_connections") == 0
    assert scraped.value("daemun_workers") == 1
    assert {labels["worker"] for labels in scraped.label_sets("process_open_fds")} == {"0"}


async def test_gauges_of_the_others_are_about_a_second_old(crew: Any) -> None:
    view = crew.view(connections=1)
    async with crew.worker(0), crew.worker(1, view=view):
        assert (await crew.scrape()).value("daemun_connections") == 1
        view.connections = 5
        await crew.until("daemun_connections", 5)


async def test_the_last_counts_of_workers_that_stopped_stay(crew: Any) -> None:
    async with crew.worker(1) as second:
        count(second, 3)
    async with crew.worker(0) as first:
        count(first)
        scraped = await crew.scrape()
    assert requests(scraped) == 4
    assert scraped.value("daemun_workers") == 1


async def test_an_old_worker_may_still_run_beside_its_successor(crew: Any) -> None:
    async with crew.worker(0), crew.worker(1) as old, crew.worker(1) as new:
        count(old)
        count(new)
        scraped = await crew.scrape()
        assert requests(scraped) == 2
        assert scraped.value("daemun_workers") == 3


async def test_a_successor_serves_as_soon_as_the_address_is_free(crew: Any, caplog: pytest.LogCaptureFixture) -> None:
    end = anyio.Event()
    async with anyio.create_task_group() as tasks, AsyncExitStack() as stack:
        count(await stack.enter_async_context(crew.worker(0)))
        count(await tasks.start(crew.run, 0, end))
        assert (await crew.scrape()).value("daemun_workers") == 2
        assert [one for one in caplog.records if "tried again until it is free" in one.getMessage()]
        await stack.aclose()
        await eventually(crew.serves, "the new worker at the address")
        scraped = await crew.until("daemun_workers", 1)
        assert requests(scraped) == 2
        end.set()


async def test_a_first_worker_does_not_wait_for_the_address_of_a_stranger(crew: Any) -> None:
    with socket.socket(socket.AF_UNIX) as stranger:
        stranger.bind(str(crew.admin))
        stranger.listen()
        with pytest.raises(SettingsError, match="address already in use"):
            async with crew.worker(0):
                pass


async def test_workers_with_other_settings_count_apart(crew: Any) -> None:
    async with crew.worker(1, duration_buckets_seconds=(1.0,)) as other:
        count(other)
        async with crew.worker(0) as first:
            count(first)
            assert requests(await crew.scrape()) == 1


async def test_broken_files_of_others_are_left_out(crew: Any, caplog: pytest.LogCaptureFixture) -> None:
    async with crew.worker(1) as second:
        count(second)
    (file,) = crew.folder.glob("*.cells")
    stem = file.name.rpartition("-")[0]
    (crew.folder / f"{stem}-7.cells").write_bytes(b"nonsense" * 100)
    (crew.folder / f"{stem}-8.cells").write_bytes(b"")
    (crew.folder / f"{stem}-9.cells").mkdir()
    async with crew.worker(0) as first:
        count(first)
        async with crew.worker(1) as second:
            (published,) = crew.folder.glob(f"{stem}-1.gauges")
            published.write_bytes(b"\xc1")
            for _ in range(3):
                scraped = await crew.scrape()
                assert requests(scraped) == 2
    warned = [one.getMessage() for one in caplog.records if "left out" in one.getMessage()]
    assert len(warned) == len(set(warned)) == 3


async def ask(port: int) -> Answer:
    wire = Wire(await anyio.connect_tcp("127.0.0.1", port))
    await wire.send(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n")
    answer = await wire.answer()
    await wire.aclose()
    return answer


async def test_any_worker_answers_for_all_at_one_tcp_address(crew: Any) -> None:
    async with await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=0, reuse_port=True) as held:
        port = held.extra(anyio.abc.SocketAttribute.local_port)
        # it stays bound for as long as the workers bind, so that nobody else is given the port
        async with (
            crew.worker(0, bind=f"127.0.0.1:{port}") as first,
            crew.worker(1, bind=f"127.0.0.1:{port}") as second,
        ):
            await held.aclose()
            count(first, 2)
            count(second, 3)
            line = b'daemun_requests_total{reason="",route="r0",status="200"} 5.0\n'
            assert all([line in (await ask(port)).body for _ in range(20)])
