"""Workers as jobs of a queueing system: Slurm as it runs here, HTCondor as far as its own parser tells."""

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
import yaml

from casa_ml_tasks import rmlclean
from casa_ml_tasks.data.casa_image import read_image
from casa_ml_tasks.parallel.clusters import described_jobs, read_configuration
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


def test_htcondor_parses_the_description_of_a_job(tmp_path):
    """With its own bindings; there is no pool."""
    htcondor = pytest.importorskip("htcondor2")
    prologue = ["source /data/venv/bin/activate", "export OMP_NUM_THREADS=1"]
    path = configuration(tmp_path / "jobs.yaml", "htcondor", cores=4, disk="20GB", **{"job-script-prologue": prologue})
    with described_jobs(path) as jobs, jobs:
        parsed = dict(htcondor.Submit(jobs.job_script()))
    assert parsed["Executable"] == "/bin/sh"
    assert parsed["RequestCpus"] == "MY.DaskWorkerCores"
    assert (parsed["MY.DaskWorkerCores"], parsed["MY.DaskWorkerMemory"]) == ("4", "2000000000")
    assert "; ".join(prologue) in parsed["Arguments"]
    for argument in ("--nthreads 4", "--memory-limit 1.86GiB", f"--local-directory {tmp_path}"):
        assert argument in parsed["Arguments"]
    assert "--nworkers" not in parsed["Arguments"]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a: b", "has no section jobqueue with one queueing system"),
        ("a: [", "has no section jobqueue with one queueing system"),
        ("jobqueue: {slurm: {}, htcondor: {}}", "has no section jobqueue with one queueing system"),
        ("jobqueue: {pbs: {}}", "jobqueue.pbs is none of slurm, htcondor"),
    ],
)
def test_a_file_that_describes_no_job_is_refused_in_one_sentence(tmp_path, text, sentence):
    path = tmp_path / "jobs.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=sentence):
        read_configuration(str(path))


def test_a_description_without_cores_is_refused_in_one_sentence(tmp_path):
    path = configuration(tmp_path / "jobs.yaml", "slurm", cores=None)
    with pytest.raises(ValueError, match=r"describe a job below jobqueue.slurm in"), described_jobs(path):
        pass
