"""Draw the pictures of the HTML page in docs/images: `python -m tools.screenshots`.

Needs Chromium and the test extra.
"""

import sys
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

import archgraph
from archgraph.report.compare import Range
from archgraph.report.files import write_whole
from archgraph.report.page import entry, page
from tests.report.browser import browser

IMAGES = Path(__file__).parents[1] / "docs" / "images"
#: File, specs, range of the curves, window, what to scroll to and what to choose first.
SHOTS = (
    ("page-vit.png", (("vit", "base"),), (), (1240, 1180), None),
    (
        "page-compared.png",
        (("vit", "small"), ("convnext", "tiny")),
        (Range("side", 64, 1024),),
        (1240, 860),
        "#curves",
    ),
)


def main() -> int:
    with TemporaryDirectory() as folder, browser(Path(folder) / "profile") as chromium:
        for name, specs, over, (width, height), place in SHOTS:
            path = Path(folder) / "page.html"
            path.write_text(page([entry(archgraph.load(*spec)) for spec in specs], over), encoding="utf-8")
            tab = chromium.open(path, width, height)
            tab.locator(".sticky label", has_text="MACs").click()
            if place is not None:
                tab.evaluate("(place) => document.querySelector(place).scrollIntoView()", place)
            tab.mouse.move(0, 0)
            data = small(tab.screenshot())
            write_whole(IMAGES / name, data)
            print(f"{name}: {len(data) // 1024} KiB")
            tab.close()
    return 0


def small(png: bytes) -> bytes:
    """The same picture, packed as well as PNG can."""
    from PIL import Image

    out = BytesIO()
    Image.open(BytesIO(png)).convert("RGB").save(out, "PNG", optimize=True)
    return out.getvalue()


if __name__ == "__main__":
    sys.exit(main())
