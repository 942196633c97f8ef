"""GDAL has no more drivers for polygons than are needed."""

import subprocess
import sys

from s2fast.regions.drivers import DRIVERS


def test_a_command_has_no_other_drivers() -> None:
    code = (
        "import sys, runpy; sys.argv = ['s2fast', '--version']\n"
        "try: runpy.run_module('s2fast.cli', run_name='__main__')\n"
        "except SystemExit: pass\n"
        "import pyogrio; print(*pyogrio.list_drivers(), sep='|')"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    found = set(ended.stdout.splitlines()[-1].split("|"))
    assert found <= set(DRIVERS)
    assert {"GeoJSON", "GPKG", "ESRI Shapefile", "FlatGeobuf", "GML", "OpenFileGDB"} <= found


def test_a_process_that_uses_gdal_keeps_its_drivers() -> None:
    code = (
        "import os, pyogrio; from s2fast.regions.drivers import switch_others_off; switch_others_off(); "
        "print(os.environ.get('OGR_SKIP'))"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout == "None\n"
