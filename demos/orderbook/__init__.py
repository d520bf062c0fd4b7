"""The exchange demo: an order book of plain integers, and the thin adapter that makes it a replicated machine."""
