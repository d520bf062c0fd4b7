"""Later rules of the game. A match that began under older ones is still played back by those, to its recorded roots.

`demos.rts_lockstep.machine.Game` is version 1. Each later release is a class here that ships the one before it with
`previous=`: entries written under version 1 run under version 1, whatever the newest rules say, so that a replay or a
rejoin never depends on which release a player has installed, as long as it is not an older one.
"""
