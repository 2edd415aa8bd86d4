"""An image as a person sees it on a screen: stored samples through modality LUT, window, palette and colours to 8 bits.

Overlays, shutters, presentation states and colour profiles are left out. Pure but for the files that are read; memory
is bounded by PIXELS_MAX and the frame's own bytes.
"""

from storage.dicom.rendering.grey import Window
from storage.dicom.rendering.header import (
    FRAME_BYTES_MAX,
    PIXELS_MAX,
    CannotRender,
    ImageHeader,
    OutsideImage,
    read_image_header,
)
from storage.dicom.rendering.native import read_native_frame
from storage.dicom.rendering.picture import IMAGE_TYPES, JPEG, PNG, Wishes, render
from storage.dicom.rendering.viewport import Region, Viewport

__all__ = [
    "FRAME_BYTES_MAX",
    "IMAGE_TYPES",
    "JPEG",
    "PIXELS_MAX",
    "PNG",
    "CannotRender",
    "ImageHeader",
    "OutsideImage",
    "Region",
    "Viewport",
    "Window",
    "Wishes",
    "read_image_header",
    "read_native_frame",
    "render",
]
