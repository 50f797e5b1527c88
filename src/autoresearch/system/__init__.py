"""The machine: git, processes, limits, hardware, hashes of files."""
