"""The ports of a node: clients, watched queries, and the pages of its status."""
