"""The process that decodes for `cds.decoding`: frames in on standard input, samples out on standard output.

Started by path, it knows nothing of the rest of the program. Each message is a length (4 bytes, little-endian) and
JSON, then bytes of the length that the JSON names.
"""

import json
import resource
import sys
from typing import Any, BinaryIO

import numpy as np
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import UID

#: Memory that decoding takes beyond the samples, and for each of them: 4 bytes in OpenJPEG, twice, and 2 in each copy.
_ROOM_BYTES = 256 << 20
_BYTES_PER_SAMPLE = 16


def main() -> None:
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    at_start = _address_space()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    while head := source.read(4):
        task: dict[str, Any] = json.loads(source.read(int.from_bytes(head, "little")))
        stream = source.read(task["length"])
        samples = task["rows"] * task["columns"] * task["samples"]
        if at_start is not None:
            soft = at_start + _ROOM_BYTES + _BYTES_PER_SAMPLE * samples + 2 * len(stream)
            resource.setrlimit(resource.RLIMIT_AS, (soft, resource.RLIM_INFINITY))
        _answer(sink, task, stream)


def _answer(sink: BinaryIO, task: dict[str, Any], stream: bytes) -> None:
    try:
        pixels, photometric = _decode(task, stream)
        answer = {"shape": pixels.shape, "dtype": pixels.dtype.str, "photometric": photometric}
        body = np.ascontiguousarray(pixels).data.cast("B")
    except Exception as error:  # noqa: BLE001 - whatever damaged data lead a decoder to; the caller refuses the image
        answer, body = {"error": type(error).__name__}, memoryview(b"")
    head = json.dumps(answer | {"length": len(body)}).encode()
    sink.write(len(head).to_bytes(4, "little") + head)
    sink.write(body)
    sink.flush()


def _decode(task: dict[str, Any], stream: bytes) -> tuple[np.ndarray, str]:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = UID(task["syntax"])
    dataset.Rows, dataset.Columns = task["rows"], task["columns"]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = task["samples"], task["photometric"]
    dataset.BitsAllocated, dataset.BitsStored = task["allocated"], task["stored"]
    dataset.HighBit, dataset.PixelRepresentation = task["stored"] - 1, 0
    if task["samples"] > 1:
        dataset.PlanarConfiguration = task["planar"]
    dataset.PixelData = encapsulate([stream])
    pixels, properties = get_decoder(dataset.file_meta.TransferSyntaxUID).as_array(
        dataset, index=0, raw=True, decoding_plugin=task["plugin"]
    )
    return pixels, str(properties["photometric_interpretation"])


def _address_space() -> int | None:
    """Bytes in use now; None where the system does not say, and no limit is set then."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[0]) * resource.getpagesize()
    except OSError:
        return None


if __name__ == "__main__":
    main()
