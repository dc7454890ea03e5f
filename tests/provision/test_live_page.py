"""The live page in a real browser, served by the running stack's Prometheus."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from PIL import Image
from tenacity import Retrying, retry_if_result, stop_after_delay, wait_fixed

from cdc_workstation.cli.status_sources import PAGE
from cdc_workstation.settings import get_settings
from conftest import installed

pytestmark = pytest.mark.timeout(300)

# `--ground` and `--good` of the two colour schemes.
GROUND = {"light": (0xF6, 0xF7, 0xF9), "dark": (0x12, 0x17, 0x1D)}
GOOD = {"light": (0x1D, 0x7F, 0x54), "dark": (0x5B, 0xC7, 0x95)}
WIDTHS = {"phone": 390, "desktop": 1200}


def chromium(directory: Path, *arguments: str) -> str:
    """Let Chromium open the page and wait for its first answers; return what it printed."""
    program = installed("chromium", "chromium")
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--virtual-time-budget=8000"]
    url = f"{get_settings().prometheus_url}/{PAGE}"
    command = [program, *options, f"--user-data-dir={directory / 'profile'}", *arguments, url]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page's text, once Prometheus knows the connectors, which takes a moment after a start."""

    def text() -> str:
        dom = chromium(tmp_path_factory.mktemp("page"), "--dump-dom")
        return re.sub(r"<(script|style).*?</\1>", "", dom, flags=re.S)

    return str(
        Retrying(
            retry=retry_if_result(lambda found: "connectors running" not in found),
            stop=stop_after_delay(90),
            wait=wait_fixed(1),
            retry_error_callback=lambda attempt: attempt.outcome.result() if attempt.outcome else "",
        )(text)
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("device", ["phone", "desktop"])
def test_page_shows_the_pipeline_on_any_screen(tmp_path: Path, device: str, scheme: str) -> None:
    chromium(
        tmp_path,
        # Blink's enumeration: 0 is dark, 1 is light.
        f"--blink-settings=preferredColorScheme={0 if scheme == 'dark' else 1}",
        f"--window-size={WIDTHS[device]},1400",
        f"--screenshot={tmp_path / 'page.png'}",
    )
    picture = Image.open(tmp_path / "page.png").convert("RGB")

    assert picture.getpixel((2, 2)) == GROUND[scheme]
    colours = {colour: count for count, colour in picture.getcolors(maxcolors=1 << 24) or []}
    assert colours.get(GOOD[scheme], 0) > 500
    # Nothing is cut at the right edge: the margin is empty.
    margin = picture.crop((WIDTHS[device] - 8, 0, WIDTHS[device], 1400))
    assert {colour for _, colour in margin.getcolors(maxcolors=1 << 24) or []} == {GROUND[scheme]}


def test_page_has_the_parts_of_the_pipeline(shown: str) -> None:
    for part in ("MySQL", "PostgreSQL", "Debezium", "Kafka", "Delta sink", "Delta tables"):
        assert f"<b>{part}</b>" in shown
    assert "connectors running" in shown
    assert "Prometheus does not answer" not in shown


def test_page_lists_tables_and_draws_both_charts(shown: str) -> None:
    assert "cdcdb.products" in shown
    assert "source to Delta" in shown
    assert "applied" in shown
    assert shown.count("<svg") == 2
