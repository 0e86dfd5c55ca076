"""Workers as jobs of a queueing system: Slurm as it runs here, HTCondor as far as its own parser tells."""

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
import yaml

from casa_ml_tasks import rmlclean
from casa_ml_tasks.data.casa_image import read_image
from tests import slurm_processes

REPOSITORY = Path(__file__).resolve().parents[1]


def configuration(path, queue, **changes):
    """A file as docs/parallel.md describes it."""
    job = {"cores": 1, "memory": "2GB", "processes": 1, "local-directory": str(path.parent)}
    found = {"jobqueue": {queue: job | changes}, "casa-ml-tasks": {"jobs": 2, "wait": 300}}
    path.write_text(yaml.safe_dump(found))
    return str(path)


@pytest.mark.skipif(slurm_processes.why_not() != "", reason=slurm_processes.why_not())
def test_two_jobs_of_slurm_make_the_image_of_one_process(simulated_ms, tmp_path, monkeypatch, casa_log):
    arguments = {"vis": str(simulated_ms.path), "imsize": 48, "cell": "0.24arcsec", "datacolumn": "data", "niter": 0}
    rmlclean(imagename=str(tmp_path / "alone"), **arguments)
    with slurm_processes.slurm(tmp_path / "slurm") as conf:
        monkeypatch.setenv("SLURM_CONF", str(conf))
        exports = [f"export {name}={value}" for name, value in (("SLURM_CONF", conf), ("PYTHONPATH", REPOSITORY))]
        described = configuration(
            tmp_path / "jobs.yaml",
            "slurm",
            walltime="00:10:00",
            **{
                "job-script-prologue": exports,
                "log-directory": str(tmp_path),
                "scheduler-options": {"host": "127.0.0.1"},
            },
        )
        rmlclean(imagename=str(tmp_path / "sky"), parallel=True, cluster=described, **arguments)
        environment = os.environ | {"SLURM_CONF": str(conf)}
        left = subprocess.run(["squeue", "-h", "-t", "R"], env=environment, capture_output=True, text=True).stdout
    assert "2 workers on 1 machines" in casa_log()
    assert left == ""
    expected = read_image(tmp_path / "alone.residual")
    np.testing.assert_allclose(read_image(tmp_path / "sky.residual"), expected, atol=2e-6 * np.abs(expected).max())
