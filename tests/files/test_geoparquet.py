"""GeoParquet 1.1: a reader finds the rows of a box by the boxes that are written with them."""

import io
import json

import geopandas
import pandas as pd
import pyarrow.parquet
import shapely

from s2fast.files.geoparquet import geoparquet


def test_boxes_are_written_and_read() -> None:
    shapes = [shapely.box(west, 50, west + 1, 51) for west in range(20)]
    table = geopandas.GeoDataFrame({"name": range(20)}, geometry=shapes, crs="EPSG:4326")
    data = geoparquet(table)
    described = json.loads(pyarrow.parquet.read_metadata(io.BytesIO(data)).metadata[b"geo"])
    assert described["version"] == "1.1.0"
    assert described["columns"]["geometry"]["covering"] == {
        "bbox": {name: ["bbox", name] for name in ("xmin", "ymin", "xmax", "ymax")}
    }
    pd.testing.assert_frame_equal(geopandas.read_parquet(io.BytesIO(data)), table)
    assert geopandas.read_parquet(io.BytesIO(data), bbox=(4.5, 50.2, 5.5, 50.4))["name"].tolist() == [4, 5]
