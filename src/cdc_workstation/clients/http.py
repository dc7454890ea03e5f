"""HTTP to the stack's own services."""

from __future__ import annotations

import requests


def direct_session() -> requests.Session:
    """Return a session without proxies: the stack is on this machine or its network, and none leads there."""
    session = requests.Session()
    session.trust_env = False
    return session
