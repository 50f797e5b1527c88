"""A real Ray cluster on this machine, for tests and benchmarks: a program that ends it when its standard input ends.

    python tests/workers/ray_lab.py FOLDER

On loopback, with a head that gives nothing; its nodes use FOLDER for temporary files. Each line on standard input is an
environment in JSON: a node with one CPU is started in it, and what there is now is printed: the address, and id ->
process of each node.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

FAST = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 1000, "health_check_failure_threshold": 10}
"""A node that stands still counts as lost after ten seconds, and not after half a minute."""

HERE = "127.0.0.2"
"""An address of loopback that Ray does not replace by the machine's own, as it does with 127.0.0.1."""

MEMORY = 80_000_000
"""Bytes for objects on a node; commits and answers are small here."""


def main(folder: str) -> None:
    about = {"node_ip_address": HERE, "include_dashboard": False, "object_store_memory": MEMORY}
    # The sockets of Ray need a short path, which the folders of tests are not.
    with tempfile.TemporaryDirectory(prefix="ray", dir="/tmp", ignore_cleanup_errors=True) as short:
        (Path(short) / "ray").mkdir()
        os.environ.update(RAY_USAGE_STATS_ENABLED="0", RAY_TMPDIR=short, TMPDIR=folder)
        from ray.cluster_utils import Cluster

        cluster = Cluster(True, head_node_args={"num_cpus": 0, "_system_config": FAST, **about})
        raylets = {}
        try:
            for line in sys.stdin:
                node: Any = cluster.add_node(num_cpus=1, env_vars=json.loads(line), **about)
                raylets[node.node_id] = node.all_processes["raylet"][0].process.pid
                print(json.dumps({"address": cluster.address, "raylets": raylets}), flush=True)
        finally:
            cluster.shutdown()


if __name__ == "__main__":
    main(sys.argv[1])
