"""Ranks of mpicasa as workers: with the real mpirun and casampi where they are, and with a stand-in for them."""

import json
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import psutil
import pytest

from casa_ml_tasks import rmlclean
from casa_ml_tasks.data.casa_image import read_image
from casa_ml_tasks.parallel import clusters, worker_of_rank
from casa_ml_tasks.request import distribution
from casa_ml_tasks.request.distribution import Distribution

REPOSITORY = Path(__file__).resolve().parents[1]
LACKING = [name for name in ("casampi", "mpi4py") if find_spec(name) is None]
LACKING += [] if shutil.which("mpirun") else ["mpirun"]
#: Every rank runs it; all but the first one stop at the import, and serve.
SCRIPT = """
import json, sys
from casa_ml_tasks import rmlclean
rmlclean(imagename="sky", parallel=True, **json.loads(sys.argv[1]))
"""


@pytest.mark.skipif(LACKING != [], reason=f"{', '.join(LACKING)} not found")
def test_two_ranks_of_mpirun_make_the_image_of_one_process(simulated_ms, tmp_path):
    image = {"vis": str(simulated_ms.path), "imsize": 48, "cell": "0.24arcsec", "datacolumn": "data", "niter": 0}
    (tmp_path / "image.py").write_text(SCRIPT)
    options = ["--allow-run-as-root", "--oversubscribe", "-n", "3"]
    said = subprocess.run(
        ["mpirun", *options, sys.executable, "image.py", json.dumps(image)],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")])},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert said.returncode == 0, said.stderr
    assert any("2 workers on 1 machines" in log.read_text() for log in tmp_path.glob("casa-*.log"))
    rmlclean(imagename=str(tmp_path / "alone"), **image)
    for product in ("residual", "psf"):
        alone = read_image(tmp_path / f"alone.{product}")
        np.testing.assert_allclose(read_image(tmp_path / f"sky.{product}"), alone, atol=2e-6 * np.abs(alone).max())


@pytest.fixture
def ranks(monkeypatch):
    """Two servers of mpicasa that are this process itself; what they are asked can be made to fail."""

    class Client:
        started, failure, silent = 0, None, False

        def start_services(self):
            Client.started += 1

        def push_command_request(self, command, block, target_server):
            assert block
            return [] if Client.silent else [self._answer(command, rank) for rank in target_server]

        def _answer(self, command, rank):
            if Client.failure is not None:
                return {"server": rank, "successful": False, "traceback": Client.failure}
            return {"server": rank, "successful": True, "ret": eval(command)}

    environment = SimpleNamespace(MPIEnvironment=SimpleNamespace(mpi_server_rank_list=lambda: [1, 2]))
    monkeypatch.setitem(sys.modules, "casampi", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "casampi.MPIEnvironment", environment)
    monkeypatch.setitem(sys.modules, "casampi.MPICommandClient", SimpleNamespace(MPICommandClient=Client))
    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "3")
    monkeypatch.setenv("OMPI_COMM_WORLD_LOCAL_SIZE", "3")
    return Client


def test_workers_beside_ranks_are_no_ranks_and_go_when_the_run_ends(ranks, monkeypatch):
    monkeypatch.setattr(worker_of_rank, "available_cores", lambda: 6)
    with clusters.opened_workers("") as client:
        assert list(client.nthreads().values()) == [2, 2]
        of_mpi = client.run(lambda: [name for name in os.environ if name.startswith("OMPI_")])
        assert list(of_mpi.values()) == [[], []]
        processes = [psutil.Process(number) for number in client.run(os.getpid).values()]
    assert ranks.started
    _, left = psutil.wait_procs(processes, timeout=5)
    assert all(process.status() == psutil.STATUS_ZOMBIE for process in left)


def test_a_rank_without_this_package_is_named(ranks):
    ranks.failure = "Traceback (most recent call last):\n  ...\nModuleNotFoundError: No module named 'casa_ml_tasks'\n"
    sentence = (
        r"rank 1 of mpicasa cannot start a worker \(ModuleNotFoundError: .*\); start all ranks with a Python that"
    )
    with pytest.raises(RuntimeError, match=sentence), clusters.opened_workers(""):
        pass


def test_ranks_that_do_not_answer_are_an_error(ranks):
    ranks.silent = True
    with pytest.raises(RuntimeError, match="a rank of mpicasa does not answer any more"), clusters.opened_workers(""):
        pass


def test_under_mpicasa_other_clusters_are_refused(monkeypatch):
    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "3")
    monkeypatch.setattr(distribution, "find_spec", lambda name: True)
    assert Distribution(parallel=True).problem == ""
    with pytest.raises(ValueError, match="cluster='slurm': under mpicasa its ranks are the workers; use cluster=''"):
        Distribution(parallel=True, cluster="slurm")


def test_under_mpirun_without_casampi_a_script_with_parallel_runs_in_one_process(monkeypatch):
    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "3")
    monkeypatch.setattr(distribution, "find_spec", lambda name: name not in ("casampi", "mpi4py"))
    sentence = "ranks of mpicasa need the extra 'mpi'; install it with pip install 'casa-ml-tasks[mpi]'"
    assert Distribution(parallel=True).problem == sentence
