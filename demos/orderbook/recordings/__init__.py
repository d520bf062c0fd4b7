"""Replaying recorded markets through durable machines: one kind of recording per module, one pump for all.

Every message of a recording is one numbered command of a machine (see `demos.orderbook.numbered`), sent by a principal
that is named after the content of the file. So the machine itself says how many messages of which file it has applied,
in the same log entries that applied them: a replay that was stopped, or killed, goes on behind the last one, and a
message that fails stops everything behind it.
"""
