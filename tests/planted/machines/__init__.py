"""One small machine for each planted fault: `Faulty`, and `Healthy`, which does the same as it should be done.

They are read by the linter and loaded several times over, one copy for each node, so they import nothing from tests.
"""
