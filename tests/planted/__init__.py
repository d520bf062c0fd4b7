"""Planted faults: machines that do what replicas must not do, and which of the five tools finds each.

`machines` holds the code, `faults` how each is provoked and what must be found, `live` and `remote` the clusters,
`tools` the five tools, `table` the table of docs/determinism.md.
"""
