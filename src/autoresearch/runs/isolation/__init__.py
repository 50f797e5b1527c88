"""What a run may reach, and what it was found doing."""
