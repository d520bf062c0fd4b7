"""Faults of the gateway and of those who ask it, and what is then said: scenarios for `tests.test_faults_doc`."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Callable
from typing import Any
from unittest import mock

import httpx

import rsm.gateway
from tests.fault_stage import Bank, Stage

SCENARIOS: dict[str, Callable[[Stage], str]] = {}
MACHINE = "tests.fault_stage:Bank"


def scenario(fault: Callable[[Stage], str]) -> Callable[[Stage], str]:
    SCENARIOS[fault.__name__.replace("_", "-")] = fault
    return fault


def nobody() -> str:
    """An address where nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{free.getsockname()[1]}"


def starting(stage: Stage, listen: str, code: int) -> str:
    words = ("gateway", "--machine", MACHINE, "--listen", listen, "--timeout", "0.2", nobody())
    return stage.cli(*words, code=code)


@scenario
def gateway_port(stage: Stage) -> str:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return starting(stage, f"127.0.0.1:{taken.getsockname()[1]}", 2)


@scenario
def gateway_extra(stage: Stage) -> str:
    gone: dict[str, Any] = {name: None for name in sys.modules if name.partition(".")[0] in ("starlette", "uvicorn")}
    kept = {name: module for name, module in sys.modules.items() if not name.startswith("rsm.gateway")}
    with mock.patch.dict(sys.modules, kept | gone, clear=True):
        return starting(stage, "127.0.0.1:0", 2)


@scenario
def gateway_unreachable(stage: Stage) -> str:
    return starting(stage, "127.0.0.1:0", 3)


@scenario
def gateway_bad_json(stage: Stage) -> str:
    async def ask() -> list[httpx.Response]:
        application = rsm.gateway.app(Bank, nobody(), timeout_seconds=0.2)
        transport = httpx.ASGITransport(app=application)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            headers = {"Content-Type": "application/json"}
            answers = [
                await client.post("/commands/deposit", content=text, headers=headers)
                for text in ('{"to": "ann", "amount": ', '{"to": "ann", "amount": "5"}', '{"to": "ann", "amount": 5}')
            ]
        await application.state.connection.close()
        return answers

    return "\n".join(f"{answer.status_code} {answer.text}" for answer in asyncio.run(ask()))
