"""Real observations, where this machine has them.

They lie in the folder that the environment variable CASA_ML_TEST_DATA names, or in `../shared/data/radio` beside the
checkout.
"""

import os
import struct
import tarfile
from pathlib import Path

from casatasks import importuvfits

BESIDE_THE_CHECKOUT = Path(__file__).resolve().parents[2] / "shared" / "data" / "radio"
ROW_COUNT = slice(0x15, 0x19)  # of table.dat, big-endian


class RealDataMissing(FileNotFoundError):
    """This machine does not have a file of real data; the sentence says where it was looked for."""


def real_data_file(name: str) -> Path:
    """Return the path of a file of real data.

    Raises:
        RealDataMissing: there is no such file.
    """
    path = Path(os.environ.get("CASA_ML_TEST_DATA", BESIDE_THE_CHECKOUT)) / name
    if not path.is_file():
        raise RealDataMissing(f"real data {name} not found; set CASA_ML_TEST_DATA to the folder that holds it")
    return path


def real_ms(name: str, folder: Path) -> str:
    """Return the path of a real Measurement Set, unpacked or imported below `folder`.

    Args:
        name: of a file that ends in .ms.tar.gz, or of a UVFITS file.
        folder: where it may be written.

    Raises:
        RealDataMissing: there is no such file.
    """
    source = real_data_file(name)
    if not name.endswith(".ms.tar.gz"):
        vis = folder / f"{source.stem}.ms"
        importuvfits(fitsfile=str(source), vis=str(vis))
        return str(vis)
    with tarfile.open(source) as archive:
        archive.extraction_filter = getattr(tarfile, "data_filter", None)  # which Python has from 3.11.4 on
        archive.extractall(folder)
    (vis,) = (path for path in folder.iterdir() if (path / "SPECTRAL_WINDOW").is_dir())
    for table in vis.glob("*/table.dat"):
        mend_row_count(table)
    return str(vis)


def mend_row_count(table: Path) -> None:
    """Write the true number of rows into a table.dat.

    casacore keeps the number of rows in `table.lock` and brings `table.dat` up to date only now and then. The archives
    were packed without `table.lock`, so their subtables seem to have no rows. The storage managers still know: the
    last row of the last bucket stands in the index of a StandardStMan file.
    """
    content = bytearray(table.read_bytes())
    (stated,) = struct.unpack(">I", content[ROW_COUNT])
    indexed = [_last_row(storage.read_bytes()) + 1 for storage in table.parent.glob("table.f[0-9]")]
    content[ROW_COUNT] = struct.pack(">I", max([stated, *indexed]))
    table.write_bytes(content)


def _last_row(storage: bytes) -> int:
    """The last row that the first index of a StandardStMan file lists; -1 in files of other storage managers."""
    index = storage.find(b"Block", storage.rfind(b"SSMIndex")) if b"SSMIndex" in storage else -1
    if index < 0:
        return -1
    values = index + len(b"Block") + 8
    (buckets,) = struct.unpack_from("<I", storage, values - 4)
    return struct.unpack_from("<I", storage, values + 4 * (buckets - 1))[0] if buckets else -1
