"""Local and remote files: GDAL's names of them, redaction of addresses, downloads and object stores."""
