"""What a machine keeps: tracked containers, rollback, state roots, snapshots by bucket, differences by path."""
