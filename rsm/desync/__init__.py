"""The detector: do logs agree, does applying agree, and if not, at which command and at which field they part."""
