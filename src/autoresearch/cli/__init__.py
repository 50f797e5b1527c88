"""What a person types: commands, output, progress, jobs in the background."""
