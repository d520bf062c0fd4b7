"""The command `exchange` where it cannot begin: one line, the exit code of what is wrong, and no exchange."""

from __future__ import annotations

import fcntl
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("uvicorn", reason="needs starlette and uvicorn (the extra `demos`)")

from demos.orderbook import exchange
from demos.orderbook.face import following

CLUSTER = """
[cluster]
machine = "demos.orderbook.machine:OrderBook"
tls = false

[[cluster.nodes]]
id = 1
peer = "127.0.0.1:9"
client = "127.0.0.1:9"
web = "127.0.0.1:9"
"""


@pytest.fixture(autouse=True)
def _scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


@pytest.fixture
def in_use(tmp_path: Path) -> Iterator[Path]:
    """A directory of a cluster that another process looks after."""
    directory = tmp_path / "exchange"
    directory.mkdir()
    (directory / "cluster.toml").write_text(CLUSTER, encoding="utf-8")
    with (directory / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield directory


def test_a_cluster_that_is_in_use_is_not_traded_on(in_use: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its addresses are in its directory, but it is another's: nothing is shown, nobody trades."""
    assert exchange.main(["--dir", str(in_use), "--seconds", "20"]) == 2
    said, complaint = capsys.readouterr()
    assert said == ""
    assert "in use" in complaint
    assert complaint.count("\n") == 1


def test_an_address_that_is_none_a_port_that_is_taken_and_nobody_there(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the caller can change is 2, what nobody answers is 3."""
    monkeypatch.setattr(following, "CONNECT_SECONDS_MAX", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as gone:
        free = gone.getsockname()[1]
        assert exchange.main(["--addresses", f"127.0.0.1:{free}", "--port", str(min(free, 65533))]) == 2
        assert f"cannot listen at 127.0.0.1:{free}: Address already in use" in capsys.readouterr().err
    assert exchange.main(["--addresses", "nowhere", "--seconds", "20"]) == 2
    assert "nowhere" in capsys.readouterr().err
    assert exchange.main(["--addresses", f"127.0.0.1:{free}", "--seconds", "20"]) == 3
    complaint = capsys.readouterr().err
    assert complaint.startswith("exchange: ")
    assert complaint.count("\n") == 1
