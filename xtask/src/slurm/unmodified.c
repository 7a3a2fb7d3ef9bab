/* A program that knows nothing of pfs: every rank writes its part of one file, and reads another one's. */
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>

#define COUNT 100000

static void check(int code, const char *what) {
    if (code == MPI_SUCCESS) return;
    char text[MPI_MAX_ERROR_STRING];
    int length;
    MPI_Error_string(code, text, &length);
    fprintf(stderr, "%s: %s\n", what, text);
    MPI_Abort(MPI_COMM_WORLD, 4);
}

int main(int argc, char **argv) {
    int rank, ranks;
    MPI_File file;
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &ranks);
    int *numbers = malloc(COUNT * sizeof *numbers);
    for (int i = 0; i < COUNT; i++) numbers[i] = rank * COUNT + i;
    check(MPI_File_open(MPI_COMM_WORLD, argv[1], MPI_MODE_CREATE | MPI_MODE_RDWR, MPI_INFO_NULL, &file), "open");
    MPI_Offset part = COUNT * sizeof *numbers;
    check(MPI_File_write_at_all(file, rank * part, numbers, COUNT, MPI_INT, MPI_STATUS_IGNORE), "write");
    check(MPI_File_sync(file), "sync");
    int next = (rank + 1) % ranks;
    MPI_Barrier(MPI_COMM_WORLD);
    check(MPI_File_sync(file), "sync");
    check(MPI_File_read_at_all(file, next * part, numbers, COUNT, MPI_INT, MPI_STATUS_IGNORE), "read");
    for (int i = 0; i < COUNT; i++) {
        if (numbers[i] != next * COUNT + i) {
            fprintf(stderr, "rank %d read %d for %d\n", rank, numbers[i], next * COUNT + i);
            MPI_Abort(MPI_COMM_WORLD, 5);
        }
    }
    check(MPI_File_close(&file), "close");
    MPI_Finalize();
    return 0;
}
