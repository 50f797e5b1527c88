"""Show, and change nothing: views, the brief, the plot, doctor."""
