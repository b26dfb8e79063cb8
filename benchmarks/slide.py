"""What reading a whole slide costs, and what for: bytes, time, peak memory, tiles with white cells; a real archive.

    python -m benchmarks.slide [--side 45] [--archive URL] [--sparse]

A slide of ``side × side`` tiles of 256 pixels is drawn and stored (that is not measured); a process of its own then
retrieves the default sample. Exits with 1 when that takes more than 5 % of the slide's bytes, or none. Counted is what
comes over the wire, where archives compress descriptions; uncompressed it is printed beside. The archive is by
default the one that `make servers` started.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.study import _running
from cds.dicomweb import DicomWebArchive
from cds.pixels import PixelLimits
from cds.retrieve import retrieve_images
from cds.settings import Settings
from cds.values import SmearImage
from tests.fakes.counting_archive import counted

if TYPE_CHECKING:
    from tests.fakes.slides import Slide

TARGET_SHARE = 0.05
ROOT = Path(__file__).resolve().parent.parent


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=45, help="tiles along each side of the slide")
    parser.add_argument("--archive", default=_running("orthanc"), help="DICOMweb service root")
    parser.add_argument(
        "--sparse", action="store_true", help="every tile says where it lies; bare glass is not stored"
    )
    options = parser.parse_args()
    if not options.archive:
        parser.error("no archive: `make servers` starts one, or give --archive")
    slide = _stored(options.archive, options.side, sparse=options.sparse)
    measured = json.loads(
        subprocess.run(
            [sys.executable, "-m", __spec__.name, "measure", options.archive, slide.study_uid],
            check=True,
            capture_output=True,
            cwd=ROOT,
        ).stdout
    )
    share, sources = measured["received"] / slide.size, measured["sources"]
    with_cells = sum(slide.place(source) in slide.cells for source in sources)
    print(f"{options.side**2} tiles, {slide.size / 1e6:.1f} MB; a white cell in {len(slide.cells)} of them")
    print(f"{len(sources)} fields read in {measured['seconds']:.2f} s by {measured['answers']} requests")
    print(f"{with_cells} of them ({with_cells / max(1, len(sources)):.0%}) hold a white cell")
    print(f"{measured['peak_mb']:.0f} MiB at the peak, {measured['grown_mb']:.0f} of them for the slide")
    met = 0 < share < TARGET_SHARE
    print(
        f"{share:.2%} of its bytes fetched ({measured['uncompressed'] / slide.size:.2%} uncompressed); "
        f"target {TARGET_SHARE:.0%}: {'met' if met else 'MISSED'}"
    )
    return 0 if met else 1


def _stored(url: str, side: int, *, sparse: bool) -> "Slide":
    from tests.fakes.slides import synthetic_slide

    slide = synthetic_slide(side, sparse=sparse)
    archive = DicomWebArchive(url, read_timeout_s=300)
    for instance in slide.instances:
        archive.store([instance])
    return slide


def _measure(url: str, study: str) -> None:
    """Retrieve the study as a worker does, and print what it took."""
    settings, archive = Settings(), DicomWebArchive(url)
    count = counted(archive)
    limits = PixelLimits(max_megapixels=settings.max_image_megapixels, max_tiles=settings.max_tiles_per_slide)
    sources: list[str] = []
    before, began = _peak_mb(), time.perf_counter()
    refs = archive.instances(study)
    for image in retrieve_images(archive, refs, concurrency=settings.retrieve_concurrency, limits=limits):
        if isinstance(image, SmearImage):
            sources.append(image.source)
    measured = {
        "seconds": time.perf_counter() - began,
        "sources": sources,
        "received": count.received,
        "uncompressed": count.uncompressed,
        "answers": count.answers,
        "peak_mb": _peak_mb(),
        "grown_mb": _peak_mb() - before,
    }
    print(json.dumps(measured))


def _peak_mb() -> float:
    """Of this process alone: what getrusage says begins with the peak of the process that started it."""
    status = Path("/proc/self/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) / 1024


if __name__ == "__main__":
    if sys.argv[1:2] == ["measure"]:
        _measure(*sys.argv[2:])
    else:
        sys.exit(main())
