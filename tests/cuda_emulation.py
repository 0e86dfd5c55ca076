"""The CUDA kernels compiled as C++ and run on one core, where there is no GPU."""

import ctypes
import re
import subprocess
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import scipy.fft

from casa_ml_tasks.kernels.cuda.device import definitions, source

HEADER = Path(__file__).with_name("cuda_emulation.h")
KERNELS = re.findall(r'extern "C" __global__[^(]*?(?:__launch_bounds__\([^)]*\) )?(\w+)\(', source())


class EmulatedDevice:
    """A Device whose memory is numpy's."""

    def __init__(self, uvgrid):
        coefficients = np.ascontiguousarray(uvgrid.kernel.coefficients, uvgrid.precision)
        self._library = _compiled(tuple(definitions(uvgrid.precision, *coefficients.shape[::-1])))
        self._coefficients = coefficients
        self._width = uvgrid.padded[1]

    def upload(self, array, dtype):
        return np.ascontiguousarray(array, dtype)

    def download(self, buffer):
        return buffer

    def zeros(self, shape, dtype):
        return np.zeros(shape, dtype)

    def empty(self, shape, dtype):
        return np.full(shape, np.nan, dtype)

    def launch(self, kernel, rows, columns, block, *arguments):
        size = self._coefficients.nbytes
        constants = (ctypes.c_char * size).in_dll(self._library, "coefficients")
        ctypes.memmove(constants, self._coefficients.ctypes.data, size)
        values = [np.array(each.ctypes.data if isinstance(each, np.ndarray) else each) for each in arguments]
        packed = (ctypes.c_void_p * len(values))(*(value.ctypes.data for value in values))
        getattr(self._library, f"emulate_{kernel}")(columns, rows, block, packed)

    def rfft2(self, padded, spectrum):
        spectrum[:] = scipy.fft.rfft2(padded)

    def irfft2(self, spectrum, padded):
        padded[:] = scipy.fft.irfft2(spectrum, (len(spectrum), self._width), norm="forward")

    def sum(self, buffer):
        return float(buffer.sum())


@cache
def _compiled(options):
    folder = Path(mkdtemp(prefix="cuda_emulation_"))
    program = folder / "gridding.cpp"
    program.write_text("\n".join([source(), *(f"EMULATE({kernel})" for kernel in KERNELS)]))
    library = folder / "gridding.so"
    flags = ["-std=c++17", "-O1", "-shared", "-fPIC", "-Wno-unknown-pragmas", "-include", str(HEADER)]
    subprocess.run(["g++", *flags, *options, "-o", str(library), str(program)], check=True)
    return ctypes.CDLL(str(library))
