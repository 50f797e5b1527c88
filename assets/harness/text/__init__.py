"""What tasks share whose training data is text."""
