"""Snapshots of a running node: taken while commands flow, sent to others, received from them."""
