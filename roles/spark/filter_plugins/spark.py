"""Work out what Spark's image contains and where Spark's services give metrics."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

# The worker's port in its container.
WORKER_PORT = 8081


def jar_coordinates(line: dict[str, Any], with_s3: bool = False) -> list[str]:
    """Return the Maven coordinates of the jars of a line of Spark (`spark_lines`), those of object storage on request.

    Delta's jars have Delta's version, and all others Spark's; coordinates for object storage say theirs.
    """
    versions = {True: line["delta"], False: line["spark"]}
    jars = [f"{jar}:{versions[jar.startswith('io.delta:')]}" for jar in line["jars"]]
    return jars + (line["s3_jars"] if with_s3 else [])


def scrape_targets(workers: list[str], worker_ui_port: int) -> list[dict[str, str]]:
    """Return what Prometheus scrapes of master, workers and Connect; without `workers` there is one, in this stack."""
    port = worker_ui_port if workers else WORKER_PORT
    return [
        {"job": "spark-master", "target": "spark-master:8080", "path": "/metrics/master/prometheus"},
        *(
            {"job": "spark-worker", "target": f"{worker}:{port}", "path": "/metrics/prometheus"}
            for worker in workers or ["spark-worker"]
        ),
        {"job": "spark-connect", "target": "spark-connect:4040", "path": "/metrics/executors/prometheus"},
    ]


class FilterModule:
    """Filters of this role."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return them by name."""
        return {"spark_jar_coordinates": jar_coordinates, "spark_scrape_targets": scrape_targets}
