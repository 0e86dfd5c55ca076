"""What a Measurement Set has to have before anything of it is read."""

from __future__ import annotations

from pathlib import Path

from casa_ml_tasks.data.measurement_set import COLUMNS, open_table


def check_measurement_set(path: str) -> None:
    """Raise ValueError, in one sentence, unless `path` is a Measurement Set with rows."""
    if not Path(path).exists():
        raise ValueError(f"vis='{path}' does not exist; give the path of a Measurement Set")
    if not (Path(path) / "table.dat").is_file():
        raise ValueError(f"vis='{path}' is not a Measurement Set; import it first, for example with importuvfits")
    with open_table(path) as main:
        if not {"UVW", "DATA_DESC_ID", "FLAG", "ANTENNA1"} <= set(main.colnames()):
            raise ValueError(f"vis='{path}' is a CASA table but not a Measurement Set; give the path of one")
        if main.nrows() == 0:
            raise ValueError(f"vis='{path}' has no rows; give a Measurement Set with data")
    for subtable in ("SPECTRAL_WINDOW", "DATA_DESCRIPTION", "POLARIZATION", "ANTENNA", "FIELD"):
        with open_table(f"{path}/{subtable}") as opened:
            if opened.nrows() == 0:
                raise ValueError(
                    f"vis='{path}' has no rows in its {subtable} table; the copy is damaged, fetch or import it anew"
                )


def data_column(path: str, wanted: str) -> str:
    """ "data" or "corrected": what is there of what is wanted, as tclean decides."""
    check_measurement_set(path)
    if wanted not in COLUMNS:
        raise ValueError(f"datacolumn='{wanted}' is unknown; use 'data' or 'corrected'")
    with open_table(path) as main:
        present = [name for name, column in COLUMNS.items() if column in main.colnames()]
    if wanted in present:
        return wanted
    if present == ["data"]:
        return "data"
    remedy = "use datacolumn='corrected'" if present else "give a Measurement Set with interferometer data"
    raise ValueError(f"datacolumn='{wanted}': vis='{path}' has no column {COLUMNS[wanted]}; {remedy}")
