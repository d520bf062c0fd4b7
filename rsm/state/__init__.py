"""What a machine keeps: tracked containers, rollback, buckets, state roots, snapshots by bucket, differences by path."""
