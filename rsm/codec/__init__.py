"""Bytes: canonical CBOR, record frames, the hash chain of the log. Values in, bytes out; no I/O, no clock."""
