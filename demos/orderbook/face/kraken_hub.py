"""Kraken's WebSocket feed, version 1, of this exchange: subscriptions, and the channels that serve them.

    {"event": "subscribe", "pair": ["ACME/USD"], "subscription": {"name": "book", "depth": 10}}

`book` (depth 10, 25 or 100), `trade` and `ohlc` (interval 1 minute) are as Kraken has them. Three things are more than
Kraken gives: subscribing to a book again sends its snapshot again, `candle` (`seconds` 5 or 60) is `ohlc` with the
candles of the past first, and `nodes` tells how the cluster stands. Every `FLUSH_SECONDS` each channel that somebody
subscribes to says what has changed, once for all of them. While the face serves nothing (`ExchangeFace.halt`) the
status is `maintenance`, with a `message`; then it is `online` again, and books begin with snapshots, unasked.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Sequence
from typing import Any, Final

import msgspec
from starlette.websockets import WebSocket, WebSocketDisconnect

from demos.orderbook.face.candles import CANDLE_SECONDS, Candle, Print
from demos.orderbook.face.exchange_face import ExchangeFace, ListedMarket
from demos.orderbook.face.kraken_reader import Key, Reader
from demos.orderbook.face.ladders import DEPTHS, Channel, text, time_text
from demos.orderbook.face.scales import decimal_text

FLUSH_SECONDS: Final = 0.05
READERS_MAX: Final = 1_000
# A request names pairs; nobody needs more of them than there may be markets.
REQUEST_BYTES_MAX: Final = 16 * 1024
PAIRS_MAX: Final = 256
# Of a channel: its parameter's name, default and allowed values.
PARAMETERS: Final = {
    "book": ("depth", 10, DEPTHS),
    "ohlc": ("interval", 1, (1,)),
    "candle": ("seconds", 5, CANDLE_SECONDS),
}
NODES: Final[Key] = ("nodes", "", 0)


class BadRequest(ValueError):
    """What is wrong with a request, as it is told."""


class KrakenHub:
    """All connections, and the channels that somebody subscribes to. One per face."""

    def __init__(self, face: ExchangeFace) -> None:
        self.face = face
        face.on_entry = self._entered
        self.readers: set[Reader] = set()
        self._channels: dict[Key, Channel] = {}
        self._numbers: dict[Key, int] = {}
        self._connections = itertools.count(1)
        self._touched: set[int] = set()
        self._prints: dict[int, list[Print]] = {}
        self._nodes = self._trouble = ""
        self.cut = 0

    # --- from the log -------------------------------------------------------------------------------------------------

    def _entered(self, touched: set[int] | None, prints: dict[int, list[Print]]) -> None:
        if touched is None:
            self._channels.clear()
            self._touched.clear()
            self._prints.clear()
            for reader in self.readers:
                if self.face.trouble != self._trouble:
                    reader.post(text(self._status()))
                reader.refresh()
            self._trouble = self.face.trouble
            return
        self._touched |= touched
        for instrument, trades in prints.items():
            self._prints.setdefault(instrument, []).extend(trades)

    async def run(self) -> None:
        """Flush, for ever."""
        while True:
            await asyncio.sleep(FLUSH_SECONDS)
            self.flush()

    def flush(self) -> None:
        """Say what has changed since the last time."""
        touched, self._touched = self._touched, set()
        prints, self._prints = self._prints, {}
        if not touched and not prints:
            return
        wanted: dict[Key, list[Reader]] = {}
        for reader in self.readers:
            for key in reader.subscriptions:
                wanted.setdefault(key, []).append(reader)
        for key in self._channels.keys() - wanted.keys():
            del self._channels[key]  # it would go on remembering levels for nobody
        for key, readers in wanted.items():
            market = self.face.find(key[1])
            if market is None:
                continue
            message = self._news(key, market, touched, prints)
            if message is not None:
                for reader in readers:
                    reader.post(message, key)

    def _news(self, key: Key, market: ListedMarket, touched: set[int], prints: dict[int, list[Print]]) -> str | None:
        name, _, parameter = key
        if name == "book":
            return self._channel(key).update(self.face.log_time) if market.instrument in touched else None
        trades = prints.get(market.instrument)
        if not trades:
            return None
        if name == "trade":
            return self._trades(key, market, trades)
        seconds = parameter if name == "candle" else 60 * parameter
        return self._candles(key, market, list(market.tape.candles[seconds])[-1:], seconds)

    def tell_nodes(self, nodes: Sequence[Any]) -> None:
        """How the nodes stand, for those who want to know."""
        self._nodes = text({"event": "nodes", "nodes": nodes, "face": self._face_facts()})
        for reader in self.readers:
            if NODES in reader.subscriptions:
                reader.post(self._nodes)

    def _face_facts(self) -> dict[str, int]:
        face = self.face
        return {
            "index": face.index,
            "event": face.number,
            "sequence": max(0, face.session.next - 1),
            "readers": len(self.readers),
            "orders": len(face.book.orders),
        }

    # --- messages -----------------------------------------------------------------------------------------------------

    def _number(self, key: Key) -> int:
        return self._numbers.setdefault(key, len(self._numbers) + 1)

    def _channel(self, key: Key) -> Channel:
        channel = self._channels.get(key)
        if channel is None:
            market = self.face.find(key[1])
            if market is None:
                raise BadRequest(f"Currency pair not supported {key[1]}")
            channel = Channel(self._number(key), key[1], market.instrument, market.decimals, key[2], self.face.book)
            self._channels[key] = channel
        return channel

    def _status(self) -> dict[str, Any]:
        """How the face stands, in the words of Kraken."""
        trouble = self.face.trouble
        status = {"event": "systemStatus", "status": "maintenance" if trouble else "online", "version": "1.9.0"}
        return status | {"message": trouble} if trouble else status

    def _book_snapshot(self, key: Key) -> str | None:
        if self.face.trouble or self.face.find(key[1]) is None:
            return None
        return self._channel(key).snapshot(self.face.log_time)

    def _trades(self, key: Key, market: ListedMarket, trades: Sequence[Print]) -> str:
        rows = [
            [
                decimal_text(trade.price, market.decimals),
                str(trade.quantity),
                time_text(trade.log_time),
                "s" if trade.side else "b",
                "l",
                "",
            ]
            for trade in trades
        ]
        return text([self._number(key), rows, "trade", market.pair])

    def _candles(self, key: Key, market: ListedMarket, candles: Sequence[Candle], seconds: int) -> str | None:
        if not candles:
            return None
        rows = [self._candle_row(market, candle, seconds) for candle in candles]
        if key[0] == "ohlc":
            return text([self._number(key), rows[-1], f"ohlc-{key[2]}", market.pair])
        return text([self._number(key), rows, f"candle-{seconds}", market.pair])

    def _candle_row(self, market: ListedMarket, candle: Candle, seconds: int) -> list[str | int]:
        decimals = market.decimals
        prices = (candle.open, candle.high, candle.low, candle.close, candle.turnover // candle.volume)
        return [
            str(candle.begin),
            str(candle.begin + seconds),
            *(decimal_text(price, decimals) for price in prices),
            str(candle.volume),
            candle.count,
        ]

    # --- connections --------------------------------------------------------------------------------------------------

    async def serve(self, socket: WebSocket) -> None:
        """Serve one connection until it ends."""
        if len(self.readers) >= READERS_MAX:
            await socket.close(1013)
            return
        await socket.accept()
        reader = Reader(socket, self._book_snapshot)
        reader.post(text({"connectionID": next(self._connections)} | self._status()))
        self.readers.add(reader)
        tasks = [asyncio.ensure_future(work) for work in (reader.send_all(), self._listen(socket, reader))]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                with contextlib.suppress(WebSocketDisconnect, OSError, RuntimeError):
                    task.result()
        except TimeoutError:
            self.cut += 1  # it has stopped reading
        finally:
            self.readers.discard(reader)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _listen(self, socket: WebSocket, reader: Reader) -> None:
        """Answer one request after the other: the next one is taken when the reader has what it was told so far."""
        while (message := await socket.receive())["type"] == "websocket.receive":
            self.hear(reader, message.get("text") or "")
            await reader.drained()

    def hear(self, reader: Reader, message: str) -> None:
        """Do what a request asks for."""
        request: Any = None
        try:
            if len(message) > REQUEST_BYTES_MAX:
                raise BadRequest("Request is too long")
            with contextlib.suppress(msgspec.DecodeError, RecursionError):
                request = msgspec.json.decode(message)
            if not isinstance(request, dict):
                raise BadRequest("Malformed request")
            self._do(reader, request)
        except BadRequest as error:
            reader.post(text({"errorMessage": str(error), "event": "error"} | _reqid(request)))

    def _do(self, reader: Reader, request: dict[str, Any]) -> None:
        event = request.get("event")
        if event == "ping":
            reader.post(text({"event": "pong"} | _reqid(request)))
            return
        if event not in ("subscribe", "unsubscribe"):
            raise BadRequest("Unknown event")
        asked = request.get("subscription")
        if not isinstance(asked, dict) or not isinstance(asked.get("name"), str):
            raise BadRequest("Subscription name invalid")
        name = asked["name"]
        if name == "nodes":
            if event == "unsubscribe":
                reader.subscriptions.discard(NODES)
                return
            reader.subscriptions.add(NODES)
            if self._nodes:
                reader.post(self._nodes)
            return
        pairs = request.get("pair")
        if not isinstance(pairs, list) or not 0 < len(pairs) <= PAIRS_MAX:
            raise BadRequest("Pair(s) not found")
        for pair in {str(pair): pair for pair in pairs}.values():
            try:
                self._subscribe(reader, event, name, asked, pair, request)
            except BadRequest as error:
                failed = {"errorMessage": str(error), "event": "subscriptionStatus", "status": "error"}
                reader.post(text(failed | {"pair": str(pair)[:64], "subscription": {"name": name}} | _reqid(request)))

    def _subscribe(
        self, reader: Reader, event: str, name: str, asked: dict[str, Any], pair: Any, request: dict[str, Any]
    ) -> None:
        market = self.face.find(pair) if isinstance(pair, str) else None
        if market is None:
            raise BadRequest(f"Currency pair not supported {str(pair)[:64]}")
        parameter, channel = 0, name
        described: dict[str, Any] = {"name": name}
        if name in PARAMETERS:
            field, default, allowed = PARAMETERS[name]
            parameter = asked.get(field, default)
            if type(parameter) is not int or parameter not in allowed:
                raise BadRequest(f"Subscription {field} not supported")
            described |= {field: parameter}
            channel = f"{name}-{parameter}"
        elif name != "trade":
            raise BadRequest("Subscription name invalid")
        key: Key = name, market.pair, parameter
        if event == "unsubscribe":
            if key not in reader.subscriptions:
                raise BadRequest("Subscription Not Found")
            reader.subscriptions.discard(key)
        else:
            reader.subscriptions.add(key)
        status = {
            "channelID": self._number(key),
            "channelName": channel,
            "event": "subscriptionStatus",
            "pair": market.pair,
            "status": f"{event}d",
            "subscription": described,
        }
        reader.post(text(status | _reqid(request)))
        if event == "subscribe":
            self._begin(reader, key, market)

    def _begin(self, reader: Reader, key: Key, market: ListedMarket) -> None:
        """What a subscription begins with."""
        name, _, parameter = key
        message: str | None
        if name == "book":
            message = self._book_snapshot(key)
        elif name == "trade":
            message = self._trades(key, market, list(market.tape.trades)) if market.tape.trades else None
        else:
            seconds = parameter if name == "candle" else 60 * parameter
            message = self._candles(key, market, list(market.tape.candles[seconds]), seconds)
        if message is not None:
            reader.post(message, key)


def _reqid(request: Any) -> dict[str, int]:
    """The caller's own number of a request, to be repeated in the answer."""
    number = request.get("reqid") if isinstance(request, dict) else None
    return {"reqid": number} if type(number) is int else {}
