"""The exchange's public face: one observer of the log, shown as ITCH 5.0, as Kraken's book channel, and as a page."""
