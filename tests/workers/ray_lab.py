"""A real Ray cluster on this machine, for tests and benchmarks: a program that ends it when its standard input ends.

    python tests/workers/ray_lab.py FOLDER

On loopback, with a head that gives nothing; its nodes use FOLDER for temporary files. For each line on standard input,
an environment in JSON, a node with one CPU is started in it; none for null. What there is now is printed: the address,
id -> process of each node, and which nodes Ray takes for alive. Of Ray there is what carries out a task, the server of
the head and a raylet for each node. The dashboard, the log monitor, the autoscaler, and the two agents of each node,
which nothing here asks for anything, are left out: each is a Python process that costs seconds to start, and works as
long as it lives.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

FAST = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 1000, "health_check_timeout_ms": 2000,
        "health_check_failure_threshold": 5}  # fmt: skip
"""A node that is gone counts as lost after five seconds, one that stands still after fifteen, and not minutes."""

PATIENT = {"kill_worker_timeout_milliseconds": 600_000}
"""A worker that does not do what it is told is not killed after five seconds: tests stop one, and let it go on."""

CALM = {"enable_metrics_collection": False, "event_stats": False, "task_events_report_interval_ms": 0,
        "memory_monitor_refresh_ms": 0, "raylet_report_resources_period_milliseconds": 500,
        "raylet_check_gc_period_milliseconds": 2000, "kill_idle_workers_interval_ms": 5000,
        "object_manager_timer_freq_ms": 1000, "report_worker_backlog_interval_ms": 5000}  # fmt: skip
"""What Ray does over and over on its own, seldom or never."""

EQUAL = {"worker_niceness": 0}
"""Ray gives what it starts the least priority but four: beside other work a test would wait for minutes."""

HERE = "127.0.0.2"
"""An address of loopback that Ray does not replace by the machine's own, as it does with 127.0.0.1."""

MEMORY = 80_000_000
"""Bytes for objects on a node; commits and answers are small here."""

STANDS_IN = "import ctypes, signal; ctypes.CDLL(None).prctl(1, 9); signal.pause()"
"""A program in the place of an agent: does nothing, and ends with its raylet."""

NOBODY = 1
"""A port where no agent listens."""


def without_agents() -> None:
    """Let the nodes that this process starts have programs that do nothing for agents."""
    from ray import _raylet
    from ray._private import node, services
    from ray._private.ray_constants import PROCESS_TYPE_RAYLET

    begin: Any = services.start_ray_process
    names = [getattr(_raylet, name) for name in dir(_raylet) if name.endswith("_PORT_NAME") and "GCS" not in name]

    def started(command: list[str], process_type: str, **more: Any) -> Any:
        if process_type == PROCESS_TYPE_RAYLET:
            said = dict(word.removeprefix("--").partition("=")[::2] for word in command)
            for name in names:  # what the agents would say
                _raylet.persist_port(said["session_dir"], said["node_id"], name, NOBODY)
            stands_in = services.subprocess.list2cmdline([sys.executable, "-ISc", STANDS_IN])
            command = [f"{word.partition('=')[0]}={stands_in}" if "_agent_command=" in word else word
                       for word in command]  # fmt: skip
        return begin(command, process_type, **more)

    services.start_ray_process = started
    node.Node.start_api_server = lambda self, **_: None


def main(folder: str) -> None:
    about = {"node_ip_address": HERE, "include_dashboard": False, "object_store_memory": MEMORY}
    # The sockets of Ray need a short path, which the folders of tests are not.
    with tempfile.TemporaryDirectory(prefix="ray", dir="/tmp", ignore_cleanup_errors=True) as short:
        (Path(short) / "ray").mkdir()
        os.environ.update(RAY_USAGE_STATS_ENABLED="0", RAY_TMPDIR=short, TMPDIR=folder)
        from ray.cluster_utils import Cluster

        without_agents()
        ways = {**FAST, **PATIENT, **CALM, **EQUAL}
        head = {"num_cpus": 0, "include_log_monitor": False, "no_monitor": True, "_system_config": ways}
        cluster = Cluster(True, head_node_args={**head, **about})
        raylets = {}
        try:
            for line in sys.stdin:
                if (env := json.loads(line)) is not None:
                    node: Any = cluster.add_node(num_cpus=1, env_vars=env, **about)
                    raylets[node.node_id] = node.all_processes["raylet"][0].process.pid
                alive = [each["NodeID"] for each in cluster.global_state.node_table() if each["Alive"]]
                print(json.dumps({"address": cluster.address, "raylets": raylets, "alive": alive}), flush=True)
        finally:
            cluster.shutdown()


if __name__ == "__main__":
    main(sys.argv[1])
