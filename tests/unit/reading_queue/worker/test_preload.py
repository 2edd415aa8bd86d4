"""What a worker loads before it forks, so that no child begins its first job with it."""

from __future__ import annotations

import subprocess
import sys

LOOK = """
import sys, threading
from reading_queue.worker import jobs
jobs.preload()
assert threading.active_count() == 1, threading.enumerate()
before = set(sys.modules)
import imagecodecs, numpy
pixels = numpy.zeros((16, 16), numpy.uint16)
for codec in ("htj2k", "jpegls", "jpeg2k"):
    encoded = getattr(imagecodecs, f"{codec}_encode")(pixels)
    getattr(imagecodecs, f"{codec}_decode")(encoded)
"张".encode("gb18030")
print(sorted(name for name in set(sys.modules) - before if name.startswith(("imagecodecs", "encodings"))))
"""


def test_the_first_image_of_a_child_loads_nothing_more() -> None:
    done = subprocess.run([sys.executable, "-c", LOOK], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"
