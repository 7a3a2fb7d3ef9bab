/*
 * What small accesses of a file cost, in nanoseconds of this process's CPU time: `small FILE CALLS` prints a line for each kind
 * of call, NAME <tab> NANOSECONDS. One rank.
 */
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static double cpu(void) {
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

int main(int argc, char **argv) {
    MPI_File file;
    MPI_Request request;
    MPI_Status status;
    MPI_Offset offset;
    char buffer[64];
    int token = 0;
    const int calls = argc > 2 ? atoi(argv[2]) : 1000;
    MPI_Init(&argc, &argv);
    memset(buffer, 1, sizeof buffer);
    if (MPI_File_open(MPI_COMM_WORLD, argv[1], MPI_MODE_CREATE | MPI_MODE_RDWR, MPI_INFO_NULL, &file) != MPI_SUCCESS)
        MPI_Abort(MPI_COMM_WORLD, 1);
    for (int i = 0; i < 1000; i++)
        MPI_File_write_at(file, i * 64, buffer, 64, MPI_BYTE, &status);
#define MEASURE(NAME, CALL)                                      \
    do {                                                         \
        double begin = cpu();                                    \
        for (int i = 0; i < calls; i++)                          \
            CALL;                                                \
        printf("%s\t%.1f\n", NAME, (cpu() - begin) / calls);     \
    } while (0)
    MEASURE("get_position", MPI_File_get_position(file, &offset));
    MEASURE("write_at, 64 bytes", MPI_File_write_at(file, i % 1000 * 64, buffer, 64, MPI_BYTE, &status));
    MEASURE("read_at, 64 bytes", MPI_File_read_at(file, i % 1000 * 64, buffer, 64, MPI_BYTE, &status));
    MEASURE("write_at_all, 64 bytes", MPI_File_write_at_all(file, i % 1000 * 64, buffer, 64, MPI_BYTE, &status));
    /* No file at all: the library sees every wait. */
    MEASURE("isend to self, wait", {
        int got;
        MPI_Irecv(&got, 1, MPI_INT, 0, 0, MPI_COMM_SELF, &request);
        MPI_Send(&token, 1, MPI_INT, 0, 0, MPI_COMM_SELF);
        MPI_Wait(&request, &status);
    });
    MPI_File_close(&file);
    MPI_Finalize();
    return 0;
}
