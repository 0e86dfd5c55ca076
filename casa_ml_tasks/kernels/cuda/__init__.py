"""Degridding and gridding on an NVIDIA GPU, in CUDA C through pycuda (extra `gpu`)."""
