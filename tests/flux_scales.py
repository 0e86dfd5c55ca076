"""The flux scales of data sets that are all in one process."""

from casa_ml_tasks.calibration.flux_scale import annulus_edges, annulus_sums, scales_of, span


def fit_flux_scales(sets, reference=0):
    """Fit the flux scale of each set relative to the reference, as a task does from the sums of parts."""
    edges = annulus_edges([span(each) for each in sets])
    sums = [annulus_sums(each, number, len(sets), edges) for number, each in enumerate(sets)]
    return scales_of([each.name for each in sets], sums, reference, all(each.changes is not None for each in sets))
