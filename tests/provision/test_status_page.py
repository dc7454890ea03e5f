"""The page of `make status` in a real browser."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from PIL import Image

from conftest import SmallStack, installed

pytestmark = pytest.mark.timeout(300)

GROUND = {"light": (0xF6, 0xF7, 0xF9), "dark": (0x12, 0x17, 0x1D)}
# `--good` of the two schemes: the outline of a part that is well.
GOOD = {"light": (0x1D, 0x7F, 0x54), "dark": (0x5B, 0xC7, 0x95)}


def screenshot(page: Path, scheme: str, target: Path) -> Image.Image:
    """Return what Chromium shows of a page."""
    command = [
        installed("chromium", "chromium"),
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--hide-scrollbars",
        f"--user-data-dir={target.parent / 'profile'}",
        # Blink's enumeration: 0 is dark, 1 is light.
        f"--blink-settings=preferredColorScheme={0 if scheme == 'dark' else 1}",
        "--window-size=1120,1000",
        f"--screenshot={target}",
        page.as_uri(),
    ]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    return Image.open(target).convert("RGB")


@pytest.fixture(scope="module")
def page(small_stack: SmallStack, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of the small stack."""
    path = tmp_path_factory.mktemp("page") / "build" / "status.html"
    outcome = small_stack.converge("playbooks/status.yml", stack_status_page=str(path))
    assert outcome.code == 0, outcome.output
    assert path.as_uri() in outcome.output
    return path


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_shows_the_pipeline_in_both_colour_schemes(page: Path, tmp_path: Path, scheme: str) -> None:
    shown = screenshot(page, scheme, tmp_path / "page.png")

    assert shown.getpixel((2, 2)) == GROUND[scheme]
    colours = {colour: count for count, colour in shown.getcolors(maxcolors=1 << 24) or []}
    assert colours.get(GOOD[scheme], 0) > 500
