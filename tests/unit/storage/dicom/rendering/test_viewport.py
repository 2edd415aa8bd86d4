"""Pictures come in the size that is asked for, in their own shape."""

from __future__ import annotations

import numpy as np
import pytest

from storage.dicom.rendering import OutsideImage, Region, Viewport, Wishes
from tests.unit.storage.dicom.rendering.images import Picture, image, shown

QUARTERS = np.kron(np.array([[0, 80], [160, 240]], np.uint8), np.ones((30, 40), np.uint8))  # 60 × 80


def in_viewport(viewport: Viewport, samples: Picture = QUARTERS, **attributes: object) -> Picture:
    return shown(image(samples, **attributes), wishes=Wishes(viewport))


@pytest.mark.parametrize(
    ("viewport", "shape"),
    [
        (Viewport(40, 40), (30, 40)),
        (Viewport(40, 15), (15, 20)),
        (Viewport(200, 400), (150, 200)),
        (Viewport(200, 400, may_grow=False), (60, 80)),
        (Viewport(width=8), (6, 8)),
        (Viewport(height=6), (6, 8)),
        (Viewport(1, 1), (1, 1)),
        (Viewport(), (60, 80)),
    ],
)
def test_picture_is_fitted_in_and_keeps_its_shape(viewport: Viewport, shape: tuple[int, int]) -> None:
    found = in_viewport(viewport)
    assert found.shape == shape
    if min(shape) > 4:
        corners = found[[0, 0, -1, -1], [0, -1, 0, -1]].tolist()
        assert corners == [0, 80, 160, 240]


def test_small_picture_is_the_mean_of_what_it_stands_for() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (512, 512), dtype=np.uint8)
    found = in_viewport(Viewport(64, 64), noise)
    np.testing.assert_allclose(found, noise.reshape(64, 8, 64, 8).mean(axis=(1, 3)), atol=0.51)


@pytest.mark.parametrize(
    ("region", "wanted"),
    [
        (Region(40, 0), [[80], [240]]),
        (Region(0, 30, 40, 30), [[160]]),
        (Region(0, 0, 80, 60, flip_columns=True), [[80, 0], [240, 160]]),
        (Region(0, 0, 80, 60, flip_rows=True), [[160, 240], [0, 80]]),
        (Region(0.5, 0.5, 0.5, 0.5, in_shares=True), [[240]]),
    ],
)
def test_region_is_cut_out(region: Region, wanted: list[list[int]]) -> None:
    found = in_viewport(Viewport(region=region))
    assert found[15::30, 20::40].tolist() == wanted


@pytest.mark.parametrize(
    "region", [Region(80, 0), Region(0, 0, 81, 60), Region(0, 59.9, 10, 2), Region(10, 10, 0.2, 5)]
)
def test_region_outside_of_the_image_is_told(region: Region) -> None:
    with pytest.raises(OutsideImage, match="80 × 60"):
        in_viewport(Viewport(region=region))


@pytest.mark.parametrize(
    ("attributes", "shape"),
    [
        ({"PixelAspectRatio": [2, 1]}, (120, 80)),
        ({"PixelAspectRatio": [1, 2]}, (60, 160)),
        ({"PixelSpacing": [0.5, 0.25]}, (120, 80)),
        ({"PixelSpacing": [0.5, 0.5]}, (60, 80)),
        ({"ImagerPixelSpacing": [0.1, 0.2]}, (60, 160)),
        ({"PixelSpacing": [0.5, 0]}, (60, 80)),
        ({"PixelAspectRatio": [1000, 1]}, (60, 80)),
    ],
)
def test_pixels_that_are_not_square_are_made_so(attributes: dict[str, object], shape: tuple[int, int]) -> None:
    assert in_viewport(Viewport(), **attributes).shape == shape


def test_colours_are_fitted_in_too() -> None:
    colours = np.zeros((10, 20, 3), np.uint8)
    colours[:, 10:] = (200, 100, 50)
    found = in_viewport(Viewport(10, 10), colours)
    assert (found.shape, found[0, 0].tolist(), found[-1, -1].tolist()) == ((5, 10, 3), [0, 0, 0], [200, 100, 50])
