"""Check that a GeoTIFF which was written is whole."""

from __future__ import annotations

from pathlib import Path

import rasterio

from s2fast.errors import SceneError
from s2fast.raster.dataset import block_bytes


def check_whole(path: Path) -> None:
    """Raise SceneError if a GeoTIFF is not whole: GDAL's threads that compress do not report a full disk.

    All blocks must lie in the file. A block that was rewritten may still hold what it held before; therefore the disk
    must also have room for one more block.
    """
    size, room = path.stat().st_size, path.with_name(f"{path.name}.room")
    with rasterio.open(path) as written:
        rows, cols = written.block_shapes[0]
        for row in range(-(-written.height // rows)):
            for col in range(-(-written.width // cols)):
                start, length = (
                    int(written.get_tag_item(f"BLOCK_{what}_{col}_{row}", "TIFF", bidx=written.count) or 0)
                    for what in ("OFFSET", "SIZE")
                )
                if not length or start + length > size:
                    raise SceneError(f"{path.parent}: a file was not written whole: free disk space there")
        block = bytes(block_bytes(written))
    try:
        room.write_bytes(block)
    except OSError as error:
        raise SceneError(f"{path.parent}: {error.strerror}: free disk space there") from error
    finally:
        room.unlink(missing_ok=True)
