"""What lies on the disk of a node, and how it gets there: log, snapshots, term and vote, roots, evidence."""
