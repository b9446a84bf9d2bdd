"""Arrays as images, with Pillow."""

from __future__ import annotations

import os

from .exceptions import InvalidInputError, MissingPackageError

TYPE_CHECKING = False  # typing is slow to import
if TYPE_CHECKING:
    from typing import Any

    from .files import FileBuilder, FileDict

_NO_ALPHA = ("JPEG",)


def save_image(
    files: FileBuilder, array: Any, name: str, *, quality: int = 95, **record: Any
) -> FileDict:
    """Encodes an array (H, W), (H, W, 1), (H, W, 3) or (H, W, 4) straight into the store."""
    try:
        import numpy as np
        from PIL import Image
    except ImportError as error:
        raise MissingPackageError(
            "save_image() needs numpy and Pillow: pip install numpy pillow"
        ) from error
    image = Image.fromarray(_to_bytes(np, array))
    extension = os.path.splitext(name)[1].lower()
    kind = Image.registered_extensions().get(extension)
    if kind is None or kind not in Image.SAVE:
        raise InvalidInputError(f"{name!r}: no image format has this extension; .png is one")
    if kind in _NO_ALPHA and image.mode == "RGBA":
        image = image.convert("RGB")
    # Image formats other than PNG seek back to fill in sizes.
    with files._open_writer(name, seekable=kind != "PNG", **record) as writer:
        image.save(writer, format=kind, quality=quality)
    return writer.record


def _to_bytes(np: Any, array: Any) -> Any:
    pixels = np.asarray(array)
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    if pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[2] not in (3, 4)):
        raise InvalidInputError(
            f"an image is (H, W), (H, W, 3) or (H, W, 4), not {tuple(pixels.shape)}"
        )
    if pixels.size == 0:
        raise InvalidInputError(f"an image of shape {tuple(pixels.shape)} has no pixels")
    if pixels.dtype == np.uint8:
        return np.ascontiguousarray(pixels)
    if pixels.dtype == bool:
        return pixels.astype(np.uint8) * 255
    if not (np.issubdtype(pixels.dtype, np.floating) or np.issubdtype(pixels.dtype, np.integer)):
        raise InvalidInputError(f"an image holds numbers, not {pixels.dtype}")
    if np.issubdtype(pixels.dtype, np.floating):
        pixels = np.nan_to_num(pixels) * 255.0 + 0.5
    return np.clip(pixels, 0, 255).astype(np.uint8)
