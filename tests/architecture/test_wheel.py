"""What is installed is what is in the checkout: page templates, words, fonts' template and migrations included."""

from __future__ import annotations

import subprocess
import sys
import zipfile

from tests.architecture.test_shape import PACKAGES, ROOT, committed_files


def test_the_wheel_holds_every_committed_file_of_the_packages_and_nothing_else(tmp_path):
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    committed = {path.relative_to(ROOT).as_posix() for path in committed_files()}
    assert held >= {name for name in committed if name.split("/")[0] in PACKAGES}
    assert {name.split("/")[0] for name in held} == set(PACKAGES)
