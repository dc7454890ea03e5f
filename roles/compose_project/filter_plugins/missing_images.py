"""Say which images must be provided before the declared services can start."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Image = dict[str, Any]


def missing_images(facts: dict[str, Any]) -> list[Image]:
    """Return the images that the engine does not have, each after those that it builds on.

    `facts` has what the action `declare_service` remembers. An image that nothing missing builds on is left out if no
    declared service runs it: Kafka's is named where Debezium is declared without Kafka.
    """
    images: dict[str, Image] = facts.get("cdc_images", {})
    present = set(facts.get("cdc_machine", {}).get("images", []))
    ordered: dict[str, Image] = {}

    def provide(service: str) -> None:
        image = images[service]
        if image["name"] in present or service in ordered:
            return
        for other in images:
            if other != service and images[other]["name"] in image["context"].get("Dockerfile", ""):
                provide(other)
        ordered[service] = {"service": service, **image}

    for service in facts.get("cdc_services", {}):
        provide(service)
    return list(ordered.values())


class FilterModule:
    """Filters of this role."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return them by name."""
        return {"missing_images": missing_images}
