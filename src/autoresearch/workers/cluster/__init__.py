"""The slots of a Ray cluster.

The engine (`ray_workers`) starts a `bridge`, the one process that speaks to Ray. The bridge sends a `task` to a node,
which starts a `node` program there, and that measures in a `replica` of the workspace.
"""
