"""What a node applies, sent on to its observers as it happens."""
