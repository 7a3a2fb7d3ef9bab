/* A program that is linked with the library: all ranks write a file and read it back. Says `linked: N ranks`. */
#include <mpi.h>
#include <stdio.h>

int main(int argc, char **argv) {
    MPI_File file;
    int rank, ranks, seen = -1;
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &ranks);
    int code = MPI_File_open(MPI_COMM_WORLD, argv[1], MPI_MODE_CREATE | MPI_MODE_RDWR, MPI_INFO_NULL, &file);
    if (code == MPI_SUCCESS)
        code = MPI_File_write_ordered(file, &rank, 1, MPI_INT, MPI_STATUS_IGNORE);
    if (code == MPI_SUCCESS)
        code = MPI_File_sync(file);
    MPI_Barrier(MPI_COMM_WORLD);
    if (code == MPI_SUCCESS)
        code = MPI_File_sync(file);
    if (code == MPI_SUCCESS)
        code = MPI_File_read_at_all(file, 4 * ((rank + 1) % ranks), &seen, 1, MPI_INT, MPI_STATUS_IGNORE);
    if (code != MPI_SUCCESS || seen != (rank + 1) % ranks || MPI_File_close(&file) != MPI_SUCCESS)
        MPI_Abort(MPI_COMM_WORLD, 1);
    if (rank == 0)
        printf("linked: %d ranks\n", ranks);
    MPI_Finalize();
    return 0;
}
