"""An exchange with a history: the machine "exchange" in its three released versions, each frozen in its own file.

- `v1`: prices are decimal strings, in commands and in the orders kept; its own short matching.
- `v2`: prices are integer ticks, orders have a time in force; the matching of `demos.orderbook.book`.
- `v3`: self-trade prevention; `replace` is no command any more but a cancellation and a new order.

`v3.Exchange` is what nodes run. It ships the others with `previous=`, so entries written under them run under them, and
its upcasters take what old clients send. A released file is not edited: what it does is in the golden logs below
tests/golden/releases, which must come to their recorded roots for ever.
"""
