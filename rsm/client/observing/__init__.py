"""`rsm.observe`: the receiving side, the applying side, and what an observer does about a difference."""
