"""All-pairs matching of Sentinel-2 images."""
