"""Sessions of Spark Connect: one for each thread, opened again if the server has lost it."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

# gRPC's handlers of fork() start its threads again in the child (grpc/grpc#43055); read once, before the first channel.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "false")

from pyspark.errors import PySparkException
from pyspark.sql.connect.client.retries import DefaultPolicy
from pyspark.sql.connect.session import SparkSession

Result = TypeVar("Result")

# The server's own words for a session that it does not have, or not any more: nothing was executed.
_LOST = ("INVALID_HANDLE.", "SESSION_CLOSED", "SESSION_NOT_FOUND", "SESSION_CHANGED")
# The sink tries again by itself, and meanwhile says what is wrong: no need to wait for an absent server for minutes.
_RETRIES = 4
_SETTINGS = {
    "spark.sql.session.timeZone": "UTC",
    # Days before 1582 as they are.
    "spark.sql.parquet.datetimeRebaseModeInWrite": "CORRECTED",
    # INT96, the default, ends for some readers in the year 2262, and begins in 1677.
    "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
    # VACUUM makes so many tasks, 10,000 by default.
    "spark.sql.sources.parallelPartitionDiscovery.parallelism": "8",
}


class SparkSessions:
    """Opens sessions of one endpoint.

    Args:
        remote: the endpoint, such as `sc://spark-connect:15002`.
        token_file: holds the token that it asks for, if any.
    """

    def __init__(self, remote: str, token_file: Path | None = None) -> None:
        self._remote = remote
        self._token_file = token_file
        self._local = threading.local()

    def run(self, work: Callable[[Session], Result]) -> Result:
        """Do something with this thread's session, a second time if the server turns out not to know it.

        Raises:
            PySparkException: it failed; whether the table has a commit, its log says. The next call has a new session.
        """
        opened = getattr(self._local, "session", None) is not None
        try:
            return work(self._session())
        except Exception as error:
            self.close()
            if not (opened and _is_lost(error)):
                raise
        try:
            return work(self._session())
        except Exception:
            self.close()
            raise

    def close(self) -> None:
        """Let go of this thread's session; the next call opens another one."""
        session = getattr(self._local, "session", None)
        self._local.session = None
        if session is not None:
            # Not `stop`, which would wait for a server that is not there.
            session.spark.client.close()

    def _session(self) -> Session:
        session: Session | None = getattr(self._local, "session", None)
        if session is None:
            session = self._local.session = Session(SparkSession.builder.remote(self._url()).create())
        return session

    def _url(self) -> str:
        if self._token_file is None:
            return self._remote
        token = quote(self._token_file.read_text(encoding="utf-8").strip(), safe="")
        endpoint, _, given = self._remote.partition("/;")
        parameters = [one for one in given.split(";") if one]
        if "use_ssl=true" in parameters:
            parameters.append(f"token={token}")
        else:
            # The client takes a token for encrypted connections alone; a header it takes for any.
            parameters.append(f"authorization=Bearer%20{token}")
        return f"{endpoint.rstrip('/')}/;{';'.join(parameters)}"


class Session:
    """A session, and what is set in it at the moment.

    Args:
        spark: the session.
    """

    def __init__(self, spark: SparkSession) -> None:
        self.spark = spark
        self._set: dict[str, str] = {}
        spark.client.set_retry_policies([DefaultPolicy(max_retries=_RETRIES, max_backoff=4000)])
        for name, value in _SETTINGS.items():
            spark.conf.set(name, value)

    def configure(self, settings: Mapping[str, str]) -> None:
        """Set these settings, and unset those that an earlier call has set."""
        for name in self._set.keys() - settings.keys():
            self.spark.conf.unset(name)
            del self._set[name]
        for name, value in settings.items():
            if self._set.get(name) != value:
                self.spark.conf.set(name, value)
                self._set[name] = value


def _is_lost(error: Exception) -> bool:
    """Whether the server does not have the session: it was started again, or let go of an idle one."""
    if not isinstance(error, PySparkException):
        return False
    return (error.getCondition() or "").startswith(_LOST) or any(f"[{one}" in str(error) for one in _LOST)
