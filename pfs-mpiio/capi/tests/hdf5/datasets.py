"""Parallel HDF5 by h5py: makes a file, or checks one that any number of ranks made.

  datasets.py write NAME      contiguous and chunked datasets, collective and independent, extended; attributes, groups
  datasets.py check NAME      the same values, read by these ranks

Rank 0 says `hdf5: N checks` at the end; anything wrong ends the job.
"""

import sys

import h5py
import numpy as np
from mpi4py import MPI

ROWS, COLUMNS, CHUNK = 48, 36, (16, 9)
world = MPI.COMM_WORLD
rank, ranks = world.rank, world.size


def field():
    return np.add.outer(np.arange(ROWS) * 1000.0, np.arange(COLUMNS))


def series():
    return np.arange(3 * ROWS, dtype="i4") * 3 + 1


def part(length, of=rank):
    """The rows of a rank."""
    return slice(length * of // ranks, length * (of + 1) // ranks)


def write(name):
    with h5py.File(name, "w", driver="mpio", comm=world) as file:
        file.attrs["title"] = "written in parallel"
        group = file.create_group("run/step-1")
        group.attrs["time"] = np.float64(0.25)
        contiguous = group.create_dataset("contiguous", (ROWS, COLUMNS), "f8")
        contiguous.attrs["unit"] = "K"
        chunked = group.create_dataset("chunked", (ROWS, COLUMNS), "f8", chunks=CHUNK)
        growing = file.create_dataset("growing", (ROWS,), "i4", maxshape=(None,), chunks=(10,))
        big_endian = file.create_dataset("big-endian", (ROWS, 2), ">i2")
        mine = part(ROWS)
        with contiguous.collective:
            contiguous[mine, :] = field()[mine, :]
        # Columns of all rows: every rank touches every chunk.
        columns = part(COLUMNS)
        with chunked.collective:
            chunked[:, columns] = field()[:, columns]
        for number in range(mine.start, mine.stop):
            big_endian[number] = [number, -number]
        growing[mine] = series()[mine]
        growing.resize((3 * ROWS,))
        added = slice(ROWS + 2 * ROWS * rank // ranks, ROWS + 2 * ROWS * (rank + 1) // ranks)
        with growing.collective:
            growing[added] = series()[added]
        file.flush()


def check(name):
    checks = 0

    def holds(what, condition):
        nonlocal checks
        checks += 1
        if not condition:
            print(f"hdf5: rank {rank}: {what}", flush=True)
            world.Abort(1)

    with h5py.File(name, "r", driver="mpio", comm=world) as file:
        group = file["run/step-1"]
        holds("attributes", file.attrs["title"] == "written in parallel" and group.attrs["time"] == 0.25)
        holds("attribute of a dataset", group["contiguous"].attrs["unit"] == "K")
        rows = part(ROWS)
        with group["contiguous"].collective:
            holds("contiguous, collective", (group["contiguous"][rows] == field()[rows]).all())
        with group["chunked"].collective:
            holds("chunked, collective", (group["chunked"][rows] == field()[rows]).all())
        holds("chunked, independent", (group["chunked"][:, 1::7] == field()[:, 1::7]).all())
        holds("extended", file["growing"].shape == (3 * ROWS,) and (file["growing"][...] == series()).all())
        numbers = np.arange(ROWS)
        holds("big endian", (file["big-endian"][...] == np.stack([numbers, -numbers], axis=1)).all())
        holds("names", sorted(file) == ["big-endian", "growing", "run"])
    if rank == 0:
        print(f"hdf5: {checks} checks")


{"write": write, "check": check}[sys.argv[1]](sys.argv[2])
