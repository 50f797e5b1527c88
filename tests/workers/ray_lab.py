"""A real Ray cluster on this machine, for tests and benchmarks: a program that ends it when its standard input ends.

    python tests/workers/ray_lab.py NODES

A head that gives nothing, and so many nodes with a CPU each, on loopback. It prints its address, and its nodes with the
process that each of them is; A line on standard input starts another one and prints all again.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

FAST = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 500, "health_check_failure_threshold": 3}
"""A node that stands still counts as lost after two seconds, and not after half a minute."""

MEMORY = 80_000_000
"""Bytes for objects on a node; commits and answers are small here."""


def main(count: int) -> None:
    about = {"node_ip_address": "127.0.0.1", "include_dashboard": False, "object_store_memory": MEMORY}
    with tempfile.TemporaryDirectory(prefix="ray", dir="/tmp", ignore_cleanup_errors=True) as folder:  # a short path
        (Path(folder) / "ray").mkdir()
        mode = os.environ.get("RAY_AUTH_MODE", "disabled")
        os.environ.update(RAY_USAGE_STATS_ENABLED="0", RAY_AUTH_MODE=mode, RAY_TMPDIR=folder)
        from ray.cluster_utils import Cluster

        cluster = Cluster(True, head_node_args={"num_cpus": 0, "_system_config": FAST, **about})
        try:
            nodes = [cluster.add_node(num_cpus=1, **about) for _ in range(count)]
            tell(cluster, nodes)
            for _ in sys.stdin:
                nodes.append(cluster.add_node(num_cpus=1, **about))
                tell(cluster, nodes)
        finally:
            cluster.shutdown()


def tell(cluster: Any, nodes: list[Any]) -> None:
    raylets = {node.node_id: node.all_processes["raylet"][0].process.pid for node in nodes}
    print(json.dumps({"address": cluster.address, "raylets": raylets}), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]))
