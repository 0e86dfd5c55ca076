"""Catalogues on disk: a CASA table with sub-tables, a FITS file with an extension for each table, and ECSV."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.table import Table
from casatools import table as table_tool
from numpy.typing import NDArray

#: casacore's names of types, by the kind of a NumPy array.
TYPES = {"i": "int", "f": "double", "U": "string", "b": "boolean"}


def write_casa_table(path: str | Path, tables: Mapping[str, Table]) -> None:
    """Write tables as one CASA table: the first is the main table, the others its sub-tables, in capitals.

    Args:
        path: of the table, which is not there yet.
        tables: by their names.
    """
    (_, main), *others = tables.items()
    _create(path, main)
    for name, sub in others:
        _create(f"{path}/{name.upper()}", sub)
    tool = table_tool()
    try:
        tool.open(str(path), nomodify=False)
        for name, _ in others:
            tool.putkeyword(name.upper(), f"Table: {path}/{name.upper()}")
    finally:
        tool.close()


def write_fits(path: str | Path, tables: Mapping[str, Table]) -> None:
    """Write tables as extensions of one FITS file, named in capitals."""
    extensions = [fits.table_to_hdu(each) for each in tables.values()]
    for name, extension in zip(tables, extensions, strict=True):
        extension.name = name.upper()
    fits.HDUList([fits.PrimaryHDU(), *extensions]).writeto(path, overwrite=True)


def write_ecsv(path: str | Path, table: Table) -> None:
    """Write a table as text, which `astropy.table.Table.read` reads with units and shapes."""
    if not len(table):  # of no row, ECSV cannot say what shape the cells have
        table = table[[name for name in table.colnames if table[name].ndim == 1]]
    table.write(path, format="ascii.ecsv", overwrite=True)


def read_casa_table(path: str | Path) -> Table:
    """Return a CASA table of scalars and arrays of one shape, with the units of its columns."""
    tool = table_tool()
    try:
        tool.open(str(path))
        columns, found = tool.colnames(), {}
        for name in columns:
            values = np.asarray(tool.getcol(name))
            found[name] = values.T if tool.nrows() else values.reshape(0)
        units = {name: tool.getcolkeywords(name).get("QuantumUnits", [None])[0] for name in columns}
    finally:
        tool.close()
    return Table(found, units={name: unit for name, unit in units.items() if unit})


def _create(path: str | Path, table: Table) -> None:
    """Write one table, with the units of its columns as CASA has them (QuantumUnits)."""
    tool = table_tool()
    description = {name: _described(table, name) for name in table.colnames}
    try:
        if not tool.create(str(path), description, nrow=len(table)):
            raise OSError(f"the table {path} cannot be written")
        for name in table.colnames:
            if len(table):
                tool.putcol(name, _plain(np.asarray(table[name])))
            if table[name].unit is not None:
                tool.putcolkeyword(name, "QuantumUnits", [table[name].unit.to_string()])
        for name, value in table.meta.items():
            tool.putkeyword(name, value)
        tool.flush()
    finally:
        tool.close()


def _described(table: Table, name: str) -> dict[str, object]:
    """Return casacore's description of a column."""
    column = table[name]
    cells = column.shape[1:]
    described: dict[str, object] = {
        "valueType": TYPES[column.dtype.kind],
        "dataManagerType": "StandardStMan",
        "dataManagerGroup": "StandardStMan",
        "option": 0,
        "maxlen": 0,
        "comment": str(column.description or ""),
    }
    if cells:
        described |= {"ndim": len(cells), "shape": np.array(cells[::-1]), "option": 4}
    return described


def _plain(values: NDArray[np.generic]) -> object:
    """Return a column as the table tool takes it: the axis of the rows last, and texts as a list."""
    return values.tolist() if values.dtype.kind == "U" else np.ascontiguousarray(values.T)
