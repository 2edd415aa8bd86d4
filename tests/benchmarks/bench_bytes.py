"""How many bytes of a study go over the line: its packs against the same instances uncompressed, and other codecs."""

from __future__ import annotations

import io
import statistics
import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.uid import CTImageStorage, MRImageStorage
from rle.utils import encode_pixel_data

from storage.contract.identifiers import Sha256Hex, SiteId, Uid
from storage.dicom.transcoding import compress, prove_restorable
from storage.packs import PackMember, layout_of, plan_packs
from tests.benchmarks.harness import Bench, Goal, benchmark
from tests.benchmarks.images import NATIVE, write_ct, write_mr

SLICES_MAX = 60
PACK_BYTES = 16 * 1024 * 1024
STUDY = Uid("1.2.826.0.1.3680043.8.498.1")
Samples = np.ndarray

# Other ways to write the same frame without loss, as a DICOM file would hold it.
CODECS: dict[str, Callable[[Samples], bytes]] = {
    "HTJ2K": lambda samples: imagecodecs.htj2k_encode(samples, reversible=True),
    "JPEG-LS": lambda samples: imagecodecs.jpegls_encode(samples.view(f"<u{samples.itemsize}")),
    "JPEG 2000": lambda samples: imagecodecs.jpeg2k_encode(samples, level=0, reversible=True, codecformat="j2k"),
    "RLE": lambda samples: encode_pixel_data(
        samples.tobytes(),
        rows=samples.shape[0],
        columns=samples.shape[1],
        samples_per_pixel=1,
        bits_allocated=samples.itemsize * 8,
        number_of_frames=1,
        byteorder="<",
    ),
    "deflate": lambda samples: zlib.compress(samples.tobytes(), 6),
}


@dataclass(frozen=True)
class Measured:
    """Bytes in packs: as the gateway sends them, with nothing compressed, and with each codec for every frame."""

    ours: int
    uncompressed: int
    by_codec: dict[str, int]
    syntaxes: dict[str, int]
    megabytes_per_s: float

    @property
    def best(self) -> str:
        return min(self.by_codec, key=lambda name: self.by_codec[name])


@benchmark(
    Goal("line.bytes.ct", "of uncompressed", at_most=0.45),
    Goal("line.bytes.ct.best", "of the best codec", at_most=1.05),
    Goal("line.bytes.mr", "of uncompressed", at_most=0.45),
    Goal("line.bytes.mr.best", "of the best codec", at_most=1.05),
)
def line_bytes(bench: Bench) -> None:
    """The packs of CT and MR images, each proved to come back to the bit, beside the same packs otherwise made."""
    for name, sop_class, phantoms in (("ct", CTImageStorage, write_ct), ("mr", MRImageStorage, write_mr)):
        if not bench.wants(f"line.bytes.{name}", f"line.bytes.{name}.best"):
            continue
        files = find_native(bench.data, sop_class) if bench.data is not None else []
        source = "real images" if files else "phantoms with noise"
        if not files:
            files = phantoms(bench.directory / name, None, studies=1, slices=20).studies[0]
        measured = measure(files)
        detail = describe(measured, source, len(files))
        bench.say(f"  {name}: {detail}")
        bench.record(f"line.bytes.{name}", measured.ours / measured.uncompressed, detail)
        bench.record(f"line.bytes.{name}.best", measured.ours / measured.by_codec[measured.best], detail)


def measure(files: Sequence[Path]) -> Measured:
    """Compress every file as the gateway does, prove it, and lay out the packs."""
    ours, plain, syntaxes, speeds = [], [], {}, []
    by_codec: dict[str, list[int]] = {name: [] for name in CODECS}
    for path in files:
        raw = path.read_bytes()
        made = io.BytesIO()
        started = time.perf_counter()
        outcome = compress(io.BytesIO(raw), lambda: made)  # noqa: B023 -- used before the next file
        if made.getvalue():
            prove_restorable(made)
        speeds.append(len(raw) / (time.perf_counter() - started) / 1e6)
        syntax = getattr(outcome, "transfer_syntax_uid", "as it is")
        syntaxes[syntax] = syntaxes.get(syntax, 0) + 1
        ours.append(len(made.getvalue()) or len(raw))
        plain.append(len(raw))
        dataset = dcmread(path)
        beside = len(raw) - len(dataset.PixelData)
        for name, encode in CODECS.items():
            by_codec[name].append(beside + sum(len(bytes(encode(frame))) for frame in frames_of(dataset)))
    return Measured(
        packed(ours),
        packed(plain),
        {name: packed(sizes) for name, sizes in by_codec.items()},
        syntaxes,
        statistics.median(speeds),
    )


def packed(sizes: Sequence[int]) -> int:
    """Return the bytes of the packs that carry files of these sizes."""
    members = [PackMember(Uid(f"{STUDY}.{number}"), size, Sha256Hex("0" * 64)) for number, size in enumerate(sizes, 1)]
    packs = plan_packs(members, target_bytes=PACK_BYTES)
    return sum(layout_of(SiteId("bench"), STUDY, pack).size_bytes for pack in packs)


def frames_of(dataset: Dataset) -> list[Samples]:
    kind = "i" if dataset.PixelRepresentation else "u"
    samples = np.frombuffer(dataset.PixelData, f"<{kind}{dataset.BitsAllocated // 8}")
    count = int(dataset.get("NumberOfFrames", 1))
    return list(samples[: count * dataset.Rows * dataset.Columns].reshape(count, dataset.Rows, dataset.Columns))


def find_native(data: Path, sop_class: str) -> list[Path]:
    """Return uncompressed grey images of this class out of `data`, evenly spread when there are many."""
    found = []
    for path in sorted(data.rglob("*")):
        if not path.is_file():
            continue
        try:
            dataset = dcmread(path, stop_before_pixels=True)
        except InvalidDicomError:
            continue
        is_grey = dataset.get("SamplesPerPixel") == 1 and dataset.get("BitsAllocated") == 16
        if dataset.get("SOPClassUID") == sop_class and dataset.file_meta.TransferSyntaxUID in NATIVE and is_grey:
            found.append(path)
    step = max(1, -(-len(found) // SLICES_MAX))
    return found[::step]


def describe(measured: Measured, source: str, count: int) -> dict[str, Any]:
    return {
        "images": count,
        "source": source,
        "uncompressed_bytes": measured.uncompressed,
        "ratio_by_codec": {
            name: round(size / measured.uncompressed, 4) for name, size in sorted(measured.by_codec.items())
        },
        "best_codec": measured.best,
        "instances_by_transfer_syntax": measured.syntaxes,
        "encode_and_prove_mb_per_s": round(measured.megabytes_per_s, 1),
    }
