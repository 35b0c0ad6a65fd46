"""The order of a resize's two passes. Each rounds to 8 bits, so the order shows, by a grey level here and there.

Pillow resizes across first, then down; so LLaVA was trained, and so does this package. Since 13.0 Pillow goes down first where the height shrinks by
more than twice as much as the width (ImagingResampleInner in src/libImaging/Resample.c); one pass after the other, by two calls, has one order in any version.
"""

from contextlib import contextmanager

from PIL import Image

pillow_resize = Image.Image.resize


def across_then_down(image, size, resample=None, box=None, reducing_gap=None):
    if box is not None or reducing_gap is not None:
        return pillow_resize(image, size, resample, box, reducing_gap)
    return pillow_resize(pillow_resize(image, (size[0], image.height), resample), size, resample)


@contextmanager
def resizing_across_first():
    """Image.resize of any Pillow goes across first."""
    Image.Image.resize = across_then_down
    try:
        yield
    finally:
        Image.Image.resize = pillow_resize
