"""Files wherever they lie: what GDAL calls them, what of an address may be shown, and the bytes of object stores."""
