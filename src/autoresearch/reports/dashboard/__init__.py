"""The live page of one or several workspaces: it reads, and never acts."""
