/* Memory that is not simply a row of values. */
#include "observe.h"

static void written_and_read(const char *what, MPI_File file, void *base, int count, MPI_Datatype type, const char *wanted,
                             int *bytes, int length) {
    MPI_Status status;
    const MPI_Offset at = 256 * rank;
    int code = MPI_File_write_at(file, at, base, count, type, &status);
    saw("MPI_File_write_at", what, wanted, "%s %s", class_of(code), count_of(&status, type));
    int *copy = malloc((size_t)length);
    memcpy(copy, bytes, (size_t)length);
    memset(bytes, 0, (size_t)length);
    code = MPI_File_read_at(file, at, base, count, type, &status);
    saw("MPI_File_read_at", what, wanted, "%s %s", class_of(code), count_of(&status, type));
    int same = 0;
    for (int i = 0; i < length / (int)sizeof(int); i++)
        same += bytes[i] == copy[i];
    saw("MPI_File_read_at", text("%s: values", what), "-", "%d", same);
    memcpy(bytes, copy, (size_t)length);
    free(copy);
}

void buffers(void) {
    MPI_File file = open_all("buffers", MPI_MODE_CREATE | MPI_MODE_RDWR);
    MPI_Datatype type, inner;
    MPI_Status status;
    int numbers[12], other[2];
    MPI_Aint first, second;
    for (int i = 0; i < 12; i++)
        numbers[i] = 1 + i + 100 * rank;
    other[0] = other[1] = 77 + rank;

    /* Absolute addresses; the datatype is gone before the request is waited for. */
    MPI_Get_address(&numbers[2], &first);
    MPI_Get_address(&other[0], &second);
    MPI_Type_create_hindexed(2, (int[]){3, 2}, (MPI_Aint[]){first, second}, MPI_INT, &type);
    MPI_Type_commit(&type);
    written_and_read("MPI_BOTTOM", file, MPI_BOTTOM, 1, type, "SUCCESS 1", numbers, sizeof numbers);
    MPI_Request request = MPI_REQUEST_NULL;
    int code = MPI_File_iwrite_at(file, 256 * rank + 64, MPI_BOTTOM, 1, type, &request);
    MPI_Type_free(&type);
    MPI_Wait(&request, &status);
    int back[5] = {0};
    MPI_File_read_at(file, 256 * rank + 64, back, 5, MPI_INT, MPI_STATUS_IGNORE);
    saw("MPI_File_iwrite_at", "datatype freed", "SUCCESS 1", "%s %d", class_of(code),
        back[0] == 3 + 100 * rank && back[4] == 77 + rank);

    MPI_Type_create_hindexed_block(2, 1, (MPI_Aint[]){-8, 4}, MPI_INT, &type);
    MPI_Type_commit(&type);
    written_and_read("displacements below zero", file, &numbers[4], 2, type, "SUCCESS 2", numbers, sizeof numbers);
    MPI_Type_free(&type);

    MPI_Type_contiguous(0, MPI_INT, &type);
    MPI_Type_commit(&type);
    code = MPI_File_write_at(file, 256 * rank, numbers, 3, type, &status);
    int bytes = -1;
    MPI_Get_count(&status, MPI_BYTE, &bytes);
    saw("MPI_File_write_at", "values of no size", "SUCCESS 0", "%s %d", class_of(code), bytes);
    code = MPI_File_read_at_all(file, 256 * rank, NULL, 3, type, &status);
    saw("MPI_File_read_at_all", "values of no size", "SUCCESS", "%s", class_of(code));
    MPI_Type_free(&type);

    MPI_Type_create_resized(MPI_INT, -4, 12, &type);
    MPI_Type_commit(&type);
    written_and_read("resized", file, &numbers[1], 3, type, "SUCCESS 3", numbers, sizeof numbers);
    MPI_Type_free(&type);

    MPI_Type_create_subarray(2, (int[]){3, 4}, (int[]){2, 2}, (int[]){1, 1}, MPI_ORDER_FORTRAN, MPI_INT, &type);
    MPI_Type_commit(&type);
    written_and_read("subarray", file, numbers, 1, type, "SUCCESS 1", numbers, sizeof numbers);
    MPI_Type_free(&type);

    MPI_Type_dup(MPI_INT, &inner);
    MPI_Type_vector(2, 1, -3, inner, &type);
    MPI_Type_free(&inner);
    MPI_Type_commit(&type);
    written_and_read("a step of -3", file, &numbers[8], 1, type, "SUCCESS 1", numbers, sizeof numbers);
    MPI_Type_free(&type);
    MPI_File_close(&file);
}
