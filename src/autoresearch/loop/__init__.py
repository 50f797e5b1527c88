"""The loop without a person: who proposes an edit, and the driver that measures it."""
