"""Bytes between processes: frames, who may speak, links between members, and the words of clients."""
