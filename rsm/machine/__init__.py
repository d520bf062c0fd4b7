"""What a user writes: the StateMachine class, its commands, queries and upcasters, and the context that handlers get."""
