"""How fast a study is read, against the plain way to do it: eager PyTorch, one image at a time.

    python -m benchmarks.reader [--package PACKAGE] [--int8 PACKAGE] [--images 100] [--repeats 3]

A study of synthetic single-cell images (360 x 360 px, as a cell imager exports them) is made once, as DICOM files with
encapsulated JPEG. Each way runs in a process of its own, so that its peak memory is its own, and the ways take turns
(A B C, A B C, …), so that a busy machine slows all of them: believe the ratios, not the seconds. Where other programs
keep the processors busy, give --threads 1: eager PyTorch's threads wait for one another in each operation, and two of
them may then take many times as long as one.

plain: decode with PIL, take the middle of the image at the network's scale (no cell is looked for), PIL resize, the
same weights in eager PyTorch with a batch of one, as many flips as the reader, softmax. plain, 224 px: the same at
ImageNet's size without flips, as is common practice; slower, and the answers differ: the weights never saw that size.
The reader does more: quality gate, cell finding, thumbnails, out-of-distribution gate, and the scale of each image.

Needs the extra `train`.
"""

import argparse
import io
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

UM_PER_PX = 29.4 / 360
TARGET = 3.0
PLAIN, PRACTICE, FLOAT32, INT8 = "plain", "plain, 224 px", "reader, float32", "reader, int8"

Rgb = npt.NDArray[np.uint8]
#: The likeliest type of each image's cell and its probability, by the image's number; None where no cell was seen.
Answers = list[tuple[str, float] | None]
Way = Callable[[list[bytes]], Answers]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--package", type=Path, help="float32 package; the bundled one by default")
    parser.add_argument("--int8", type=Path, help="its variant made by `python -m models.quantise`")
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--threads", type=int, help="threads of each way; by default as many as there are CPUs"
    )
    parser.add_argument("--one", nargs=3, metavar=("WAY", "STUDY", "PACKAGE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        way, study, package = options.one
        print(json.dumps(_measure(way, Path(study), Path(package), options.threads)))
        return 0
    from models.package import bundled_package, load_identity

    package = options.package or bundled_package()
    ways = {PLAIN: package, PRACTICE: package, FLOAT32: package}
    if options.int8:
        ways[INT8] = options.int8
    for folder in {*ways.values()}:
        print(f"{load_identity(folder).name} {load_identity(folder).version}: {folder}")
    results: dict[str, list[dict[str, Any]]] = {way: [] for way in ways}
    with tempfile.TemporaryDirectory() as name:
        study = _draw(Path(name), options.images)
        for turn in range(options.repeats):
            for way, folder in ways.items():
                results[way].append(_in_a_process(way, study, folder, options.threads))
                print(f"turn {turn + 1}, {way}: {results[way][-1]['study_s']:.2f} s", file=sys.stderr)
    return _tell(results, options.images)


def _draw(folder: Path, images: int) -> Path:
    from PIL import Image

    from cds.microscopy import to_dicom
    from models.synthetic.studies import compose_study

    for number, image in enumerate(compose_study("AML", 1, cells=images, um_per_px=UM_PER_PX).images):
        buffer = io.BytesIO()
        Image.fromarray(image.pixels).save(buffer, "JPEG", quality=92)
        instance = to_dicom(
            buffer.getvalue(), study_uid="2.25.1", series_uid="2.25.2", patient_id="p", um_per_px=UM_PER_PX
        )
        (folder / f"{number:04d}.dcm").write_bytes(instance)
    return folder


def _in_a_process(way: str, study: Path, package: Path, threads: int | None) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.reader", "--one", way, str(study), str(package)]
    command += ["--threads", str(threads)] if threads else []
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{way} failed:\n{done.stderr}")
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def _measure(way: str, study: Path, package: Path, threads: int | None) -> dict[str, Any]:
    """One way, in this process: seconds for the study, once warm, and for its network alone; peak memory; answers."""
    files = [path.read_bytes() for path in sorted(study.iterdir())]
    read, network = _open(way, package, threads)
    read(files[:4])
    began, cpu = time.perf_counter(), time.process_time()
    answers = read(files)
    seconds, cpu_s = time.perf_counter() - began, time.process_time() - cpu
    crops = np.random.default_rng(0).integers(0, 256, (32, 1), dtype=np.uint8)
    began = time.perf_counter()
    network(crops)
    per_cell = (time.perf_counter() - began) / len(crops)
    return {
        "study_s": seconds,
        "cpu_s": cpu_s,
        "cell_ms": 1e3 * per_cell,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "answers": answers,
    }


def _open(way: str, package: Path, threads: int | None) -> tuple[Way, Callable[[Rgb], object]]:
    """The way, and its network alone given crops of any content ``(n, …)``: one grey level each."""
    from models.package import load_card

    card = load_card(package)

    def grey(levels: Rgb, side: int) -> Rgb:
        return np.broadcast_to(levels[:, :, None, None], (len(levels), side, side, 3)).copy()

    if way in (PLAIN, PRACTICE):
        side, flips = (card.input_px, card.flips) if way == PLAIN else (224, 1)
        plain = _Plain(package, side, flips, threads)
        return plain.read, lambda levels: [plain.classify(crop) for crop in grey(levels, side)]
    from cds.pixels import PixelLimits, decode_dicom
    from models.classifier import CropClassifier
    from models.reader import open_reader

    reader, classifier = open_reader(package), CropClassifier(card, package, threads=threads)
    reader._classifier = classifier

    def decoded(files: list[bytes]) -> Iterator[Any]:
        for number, data in enumerate(files):
            yield from decode_dicom(data, PixelLimits(), source=str(number))

    def read(files: list[bytes]) -> Answers:
        answers: Answers = [None] * len(files)
        for cell in reader.read(decoded(files)).cells:
            answers[int(cell.source)] = (cell.cell_type, cell.probability)
        return answers

    return read, lambda levels: classifier.classify(grey(levels, card.input_px))


class _Plain:
    """The eager pipeline that one writes first."""

    def __init__(self, package: Path, side: int, flips: int, threads: int | None) -> None:
        import torch

        from models.package import load_card

        if threads:
            torch.set_num_threads(threads)
        self._torch, self._card, self._side, self._flips = torch, load_card(package), side, flips
        self._network = _eager(package, len(self._card.labels))

    def read(self, files: list[bytes]) -> Answers:
        import pydicom
        from PIL import Image
        from pydicom.encaps import get_frame

        from models.stain_normalisation import brought, correction
        from models.white_balance import neutral

        middles = []
        for data in files:
            dataset = pydicom.dcmread(io.BytesIO(data))
            picture = Image.open(io.BytesIO(get_frame(dataset.PixelData, 0, number_of_frames=1)))
            half = self._card.input_px * self._card.input_um_per_px / UM_PER_PX / 2
            x, y = picture.width / 2, picture.height / 2
            box = (x - half, y - half, x + half, y + half)
            middle = picture.convert("RGB").resize((self._side, self._side), Image.Resampling.BOX, box)
            middles.append(np.asarray(middle))
        how = correction(np.stack(middles), self._card.stain)
        answers: Answers = []
        for crop in middles:
            seen = brought(crop[None], how)
            probabilities = self.classify((neutral(seen) if self._card.white_balance else seen)[0])
            label = int(probabilities.argmax())
            answers.append((self._card.labels[label], float(probabilities[label])))
        return answers

    def classify(self, crop: Rgb) -> npt.NDArray[np.float64]:
        torch, card = self._torch, self._card
        with torch.inference_mode():
            cell = torch.from_numpy(np.array(crop)).permute(2, 0, 1)[None].float() / 255
            cell = (cell - torch.tensor(card.mean)[:, None, None]) / torch.tensor(card.std)[:, None, None]
            views = [cell, torch.flip(cell, (2, 3))][: self._flips]
            answers = [torch.softmax(self._network(view)[0] / card.temperature, 1) for view in views]
            mean: npt.NDArray[np.float64] = torch.stack(answers).mean(0)[0].double().numpy()
        return mean


def _eager(package: Path, labels: int) -> Any:
    """The package's ResNet-34 in PyTorch. Its batch norms, which the export folded into the convolutions before them,
    are there to be computed and change nothing."""
    import onnx
    import torch
    from onnx import numpy_helper

    from models.networks import build_network
    from models.package import load_card
    from models.weight_storage import restore

    card = load_card(package)
    if card.document.get("architecture") != "resnet34":
        raise SystemExit("the plain way is a ResNet-34's: give --package one of that network alone")
    model = onnx.load(str(package / card.weights_file))
    restore(model)
    graph = model.graph
    values = {t.name: torch.from_numpy(numpy_helper.to_array(t).copy()) for t in graph.initializer}
    convolutions = [n for n in graph.node if n.op_type == "Conv" and "activation" not in n.output]
    head = next(n for n in graph.node if n.op_type == "Gemm")
    network = build_network("resnet34", labels).eval()
    modules = list(network.modules())
    convs = [m for m in modules if isinstance(m, torch.nn.Conv2d)]
    norms = [m for m in modules if isinstance(m, torch.nn.BatchNorm2d)]
    with torch.no_grad():
        for node, conv, norm in zip(convolutions, convs, norms, strict=True):
            conv.weight.copy_(values[node.input[1]])
            if norm.running_var is not None:
                norm.running_var.fill_(1.0 - norm.eps)
            norm.bias.copy_(values[node.input[2]])
        network.head.weight.copy_(values[head.input[1]])
        network.head.bias.copy_(values[head.input[2]])
    return network


def _tell(results: dict[str, list[dict[str, Any]]], images: int) -> int:
    def median(way: str, what: str) -> float:
        return float(statistics.median(turn[what] for turn in results[way]))

    print(
        f"\nmedians of {len(results[PLAIN])} turns, {images} images a study; ratios against {PLAIN!r} of the same turn"
    )
    print(
        f"{'':16} {'study s':>8} {'ratio':>6} {'CPU s':>7} {'ratio':>6} {'cell ms':>8} {'ratio':>6} {'peak MB':>8}"
    )
    ratios = {}
    for way in results:
        row = f"{way:16}"
        for what, digits in (("study_s", "8.2f"), ("cpu_s", "7.2f"), ("cell_ms", "8.2f")):
            turns = zip(results[PLAIN], results[way], strict=True)
            ratios[way, what] = statistics.median(plain[what] / own[what] for plain, own in turns)
            row += f" {median(way, what):{digits}} {ratios[way, what]:6.2f}"
        print(f"{row} {median(way, 'peak_mb'):8.0f}")
    print(
        f"\nthe same answers as {PLAIN!r} (the middle of the image, where the reader looks for the cell itself):"
    )
    for way in list(results)[1:]:
        print(f"{way:16} {_agreement(results[PLAIN][0]['answers'], results[way][0]['answers'])}")
    if INT8 in results:
        print(f"int8 on float32  {_agreement(results[FLOAT32][0]['answers'], results[INT8][0]['answers'])}")
    best = max((ratios[way, "study_s"], way) for way in results if way in (FLOAT32, INT8))
    met = "met" if best[0] >= TARGET else "MISSED"
    print(f"\n{best[1]} is {best[0]:.1f} times as fast per study as {PLAIN!r}; target {TARGET:g}: {met}")
    print(f"{os.cpu_count()} CPUs, load average {os.getloadavg()[0]:.1f}")
    return 0 if best[0] >= TARGET else 1


def _agreement(first: list[Any], second: list[Any]) -> str:
    both = [(a, b) for a, b in zip(first, second, strict=True) if a is not None and b is not None]
    same = [(a[1], b[1]) for a, b in both if a[0] == b[0]]
    worst = max((abs(p - q) for p, q in same), default=0.0)
    return (
        f"{len(same)} of {len(both)} the same type, {len(first) - len(both)} without one; "
        f"probabilities of these differ by {worst:.3f} at most"
    )


if __name__ == "__main__":
    raise SystemExit(main())
