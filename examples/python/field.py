"""A two-dimensional field of numpy arrays in one file, by mpi4py.

  mpirun -n 4 python3 field.py NAME

Each rank has some rows of the field and writes them together with all others. Then the ranks read the field back by columns,
without waiting. Rank 0 says what the sum is.

With the library in LD_PRELOAD the name may be `pfs:/field`; without it any local one will do.
"""

import sys

import numpy as np
from mpi4py import MPI

ROWS, COLUMNS = 120, 90


def block(of, length, ranks):
    """The share of a rank as begin and end."""
    return of * length // ranks, (of + 1) * length // ranks


def part_of_field(rows, columns):
    """A view of the rows and columns of a rank in the whole field."""
    sizes = [rows[1] - rows[0], columns[1] - columns[0]]
    part = MPI.DOUBLE.Create_subarray([ROWS, COLUMNS], sizes, [rows[0], columns[0]])
    return part.Commit()


def main(name):
    world = MPI.COMM_WORLD
    rank, ranks = world.rank, world.size
    field = np.add.outer(np.arange(ROWS) * 100.0, np.arange(COLUMNS))

    first, end = block(rank, ROWS, ranks)
    rows = part_of_field((first, end), (0, COLUMNS))
    file = MPI.File.Open(world, name, MPI.MODE_CREATE | MPI.MODE_RDWR)
    file.Set_view(0, MPI.DOUBLE, rows)
    file.Write_all(np.ascontiguousarray(field[first:end]))
    rows.Free()

    left, right = block(rank, COLUMNS, ranks)
    columns = part_of_field((0, ROWS), (left, right))
    file.Set_view(0, MPI.DOUBLE, columns)
    mine = np.empty((ROWS, right - left))
    status = MPI.Status()
    request = file.Iread_at_all(0, mine)
    request.Wait(status)
    columns.Free()
    assert status.Get_count(MPI.DOUBLE) == mine.size
    assert (mine == field[:, left:right]).all(), f"rank {rank} read other values"
    assert file.Get_size() == field.nbytes
    file.Close()

    total = world.reduce(mine.sum(), root=0)
    if rank == 0:
        print(f"the field of {ROWS} x {COLUMNS} has the sum {total:.0f}")


main(sys.argv[1])
