"""Grey values reach the screen as the standard's formulas say, whatever a header says about its samples."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_modality_lut, apply_voi_lut

from storage.dicom.rendering import Viewport, Window, Wishes
from tests.unit.storage.dicom.rendering.images import image, lookup, ramp, shown


def by_pydicom(file: bytes) -> Any:
    """Return what pydicom makes of the first window, scaled to the screen."""
    dataset = pydicom.dcmread(io.BytesIO(file))
    with np.errstate(over="ignore"):  # of its sigmoid
        values = apply_voi_lut(apply_modality_lut(dataset.pixel_array, dataset), dataset).astype(float)
    bits, signed = dataset.BitsStored, dataset.PixelRepresentation == 1
    least = -(2 ** (bits - 1)) if signed else 0
    least, greatest = (
        edge * float(dataset.get("RescaleSlope", 1)) + float(dataset.get("RescaleIntercept", 0))
        for edge in (least, least + 2**bits - 1)
    )
    return (values - least) / (greatest - least) * 255


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
@pytest.mark.parametrize(("slope", "intercept"), [(1, 0), (2, -1024), (0.5, 17.5)])
@pytest.mark.parametrize(("center", "width"), [(40, 400), (0, 2), (-600, 1500), (300.5, 99.5)])
def test_window_of_the_header(function: str, slope: float, intercept: float, center: float, width: float) -> None:
    file = image(
        ramp(-2000, 2000),
        RescaleSlope=slope,
        RescaleIntercept=intercept,
        WindowCenter=[center, 1],
        WindowWidth=[width, 2],
        VOILUTFunction=function,
    )
    np.testing.assert_allclose(shown(file), by_pydicom(file), atol=0.51)


def test_readers_window_takes_the_place_of_the_headers() -> None:
    file = image(ramp(0, 1000), WindowCenter=10, WindowWidth=20)
    found = shown(file, wishes=Wishes(window=Window(500, 2, "LINEAR_EXACT")))[:, 0]
    assert list(found[[498, 499, 500, 501, 502]]) == [0, 0, 128, 255, 255]


def test_window_of_width_1_is_a_threshold() -> None:
    found = shown(image(ramp(0, 9, "<u2")), wishes=Wishes(window=Window(5, 1)))[:, 0]
    assert list(found) == [0, 0, 0, 0, 0, 255, 255, 255, 255, 255]


def test_monochrome1_is_shown_the_other_way_round() -> None:
    attributes = {"WindowCenter": 128, "WindowWidth": 256}
    upright = shown(image(ramp(0, 255, "<u2"), **attributes)).astype(int)
    found = shown(image(ramp(0, 255, "<u2"), PhotometricInterpretation="MONOCHROME1", **attributes)).astype(int)
    assert (found[0, 0], found[-1, 0]) == (255, 0)
    np.testing.assert_allclose(found, 255 - upright, atol=1)


def test_tables_stand_in_the_place_of_slope_and_window() -> None:
    file = image(
        ramp(0, 9, "<u2"),
        ModalityLUTSequence=[lookup(2, [0, 10, 20, 30, 40], 16)],
        VOILUTSequence=[lookup(10, [0, 4095, 1000], 12)],
        WindowCenter=0,
        WindowWidth=1,
    )
    # values behind the modality LUT: 0 0 0 10 20 30 40 40 40 40
    assert list(shown(file)[:, 0]) == [0, 0, 0, 0, *[62] * 6]


def test_table_of_signed_values_begins_below_zero() -> None:
    file = image(ramp(-3, 2), VOILUTSequence=[lookup(-2, [0, 85, 170, 255], 8, "SS")])
    assert list(shown(file)[:, 0]) == [0, 0, 85, 170, 255, 255]


def test_without_a_window_all_that_the_frame_has_is_seen_and_padding_left_out() -> None:
    samples = np.array([[-2000, -2000, -1000], [0, 1000, 500]], "<i2")
    found = shown(image(samples, PixelPaddingValue=-2000, RescaleSlope=2, RescaleIntercept=5))
    assert found.tolist() == [[0, 0, 0], [128, 255, 191]]
    with_range = shown(image(samples, PixelPaddingValue=-2000, PixelPaddingRangeLimit=-1000))
    assert with_range.tolist() == [[0, 0, 0], [0, 255, 128]]


def test_8_bits_without_a_window_are_shown_as_they_are() -> None:
    assert shown(image(ramp(50, 60, "u1")))[:, 0].tolist() == list(range(50, 61))


def test_frame_of_one_value_is_shown() -> None:
    assert shown(image(np.full((2, 2), 77, "<u2"))).tolist() == [[128, 128], [128, 128]]


def test_bits_beside_the_sample_are_no_part_of_it() -> None:
    samples = np.array([[0x0010, 0xF010], [0x1FF0, 0xF800]], "<u2")  # 8 bits from bit 4 on, overlays around them
    found = shown(image(samples, BitsStored=8, HighBit=11))
    assert found.tolist() == [[1, 1], [255, 128]]


def test_signed_samples_of_12_bits_have_their_sign_wherever_it_was_extended() -> None:
    samples = np.array([[0x0FFF, 0xFFFF, 0x0800, 0x07FF]], "<u2")  # -1, -1, -2048, 2047
    found = shown(image(samples, BitsStored=12, HighBit=11, PixelRepresentation=1, WindowCenter=0.5, WindowWidth=4096))
    assert found.tolist() == [[127, 127, 0, 255]]


def test_single_bits_of_every_frame_begin_where_the_last_ended() -> None:
    frames = np.random.default_rng(5).integers(0, 2, (3, 3, 5), dtype=np.uint8)
    packed = np.packbits(frames.ravel(), bitorder="little")
    file = image(frames, 3, BitsAllocated=1, BitsStored=1, HighBit=0, PixelData=packed.tobytes())
    for number, frame in enumerate(frames, 1):
        np.testing.assert_array_equal(shown(file, number), frame * 255)


def test_floating_point_samples_are_shown() -> None:
    file = pydicom.dcmread(io.BytesIO(image(np.zeros((1, 3), "<u4"))))
    del file.PixelData
    file.FloatPixelData = np.array([-0.5, 0.0, 0.5], "<f4").tobytes()
    stream = io.BytesIO()
    file.save_as(stream)
    assert shown(stream.getvalue()).tolist() == [[0, 128, 255]]


def test_32_bit_samples_are_shown_between_their_least_and_greatest() -> None:
    assert shown(image(np.array([[0, 2**31, 2**32 - 1]], "<u4"))).tolist() == [[0, 128, 255]]


def test_each_frame_has_the_window_of_its_functional_group() -> None:
    def group(**attributes: float) -> Dataset:
        item, macro = Dataset(), Dataset()
        for keyword, value in attributes.items():
            setattr(macro, keyword, value)
        setattr(
            item, "FrameVOILUTSequence" if "WindowCenter" in attributes else "PixelValueTransformationSequence", [macro]
        )
        return item

    file = image(
        np.array([[[0, 10]], [[0, 10]]], "<u2"),
        2,
        SharedFunctionalGroupsSequence=[group(RescaleSlope=2, RescaleIntercept=0)],
        PerFrameFunctionalGroupsSequence=[group(WindowCenter=10, WindowWidth=21), group(WindowCenter=0, WindowWidth=1)],
    )
    assert [shown(file, number).tolist() for number in (1, 2)] == [[[6, 255]], [[255, 255]]]


@pytest.mark.parametrize(
    "odd",
    [
        {"WindowCenter": "", "WindowWidth": ""},
        {"WindowCenter": 5, "WindowWidth": 0},
        {"WindowCenter": 5, "WindowWidth": -3},
        {"VOILUTSequence": []},
        {"VOILUTSequence": [Dataset()]},
        {"VOILUTSequence": [lookup(0, [], 8)]},
        {"ModalityLUTSequence": [Dataset()]},
        {"RescaleSlope": 0},
        {"SharedFunctionalGroupsSequence": [Dataset()], "PerFrameFunctionalGroupsSequence": []},
    ],
)
def test_oddity_of_the_header_is_passed_over(odd: dict[str, Any]) -> None:
    assert shown(image(ramp(0, 2, "<u2"), **odd))[:, 0].tolist() == [0, 128, 255]


def test_large_frame_is_shown_like_a_small_one() -> None:
    samples = np.random.default_rng(1).integers(0, 4096, (3000, 2500), dtype="<u2")
    found = shown(image(samples, WindowCenter=2048, WindowWidth=4096))
    np.testing.assert_allclose(found, np.clip((samples - 2047.5) / 4095 + 0.5, 0, 1) * 255, atol=0.51)
    assert shown(image(samples), wishes=Wishes(Viewport(64, 64))).shape == (64, 53)
