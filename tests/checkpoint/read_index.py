#!/usr/bin/env python3
"""Reads a checkpoint through its virtual-dataset index with h5py and compares every tensor with the pieces that
MANIFEST.json lists, byte for byte; then lets h5dump open the index too, if it is installed.

    read_index.py CHECKPOINT            prints "N tensors, M bytes read through index.h5: equal"
"""
import json
import pathlib
import shutil
import subprocess
import sys

import h5py
import numpy

# How a stored type shows through h5py: bfloat16 is a 16-bit float of HDF5's own making, read as float32.
TYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1",
         "U8": "u1", "BOOL": "u1"}


def from_pieces(folder, tensor):
    """The tensor as the loader sees it: bytes at the places of the manifest."""
    whole = numpy.zeros(tensor["shape"], dtype=TYPES[tensor["dtype"]])
    for piece in tensor["pieces"]:
        place = tuple(slice(o, o + n) for o, n in zip(piece["offset"], piece["shape"]))
        count = int(numpy.prod(piece["shape"], dtype=numpy.int64))
        values = numpy.fromfile(folder / piece["file"], dtype=whole.dtype, count=count, offset=piece["byte"])
        whole[place] = values.reshape(piece["shape"])
    if tensor["dtype"] == "BF16":
        return (whole.astype("<u4") << 16).view("<f4")
    return whole


def main():
    folder = pathlib.Path(sys.argv[1])
    manifest = json.loads((folder / "MANIFEST.json").read_text())
    num_bytes = 0
    with h5py.File(folder / "index.h5", "r") as index:
        names = set(index.keys())
        for tensor in manifest["tensors"]:
            expected = from_pieces(folder, tensor)
            read = numpy.asarray(index[tensor["name"]][()])
            if tensor["dtype"] == "BF16":
                read = read.astype("<f4")
            if read.shape != expected.shape or read.tobytes() != expected.tobytes():
                sys.exit(f"{folder}: tensor {tensor['name']} read through the index is not what the shards hold")
            names.discard(tensor["name"])
            num_bytes += expected.nbytes
    if names:
        sys.exit(f"{folder}: the index has tensors that the manifest has not: {sorted(names)}")
    print(f"{len(manifest['tensors'])} tensors, {num_bytes} bytes read through index.h5: equal")
    if shutil.which("h5dump"):
        dump = subprocess.run(["h5dump", "-H", str(folder / "index.h5")], capture_output=True, text=True)
        if dump.returncode != 0 or dump.stdout.count("DATASET \"") != len(manifest["tensors"]):
            sys.exit(f"h5dump cannot read the index: {dump.stderr}")
        print("h5dump lists them all")
    else:
        print("skipped: h5dump is not installed")


if __name__ == "__main__":
    main()
