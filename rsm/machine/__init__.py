"""What a user writes: StateMachine, its commands, queries and upcasters, and the context that handlers get."""
