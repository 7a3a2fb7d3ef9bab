/*
 * PnetCDF in each of its ways: makes a file, reads it back, and says `pnetcdf: N checks`; anything wrong ends the job.
 *
 *   variables write NAME      blocking, nonblocking, varn and vard access, fixed and record variables
 *   variables check NAME      the same values, read by these ranks in other parts
 */
#include <pnetcdf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 24, COLUMNS = 10, STEPS = 3 };

static int rank, ranks, checks;

static void ok(int line, int code) {
    if (code != NC_NOERR) {
        printf("pnetcdf: rank %d, line %d: %s\n", rank, line, ncmpi_strerror(code));
        MPI_Abort(MPI_COMM_WORLD, 1);
    }
}
#define OK(CALL) ok(__LINE__, CALL)

static void check(int holds, const char *what) {
    checks++;
    if (!holds) {
        printf("pnetcdf: rank %d: %s\n", rank, what);
        MPI_Abort(MPI_COMM_WORLD, 1);
    }
}

static int value(int variable, int row, int column) { return 100000 * variable + 100 * row + column; }

/* The rows of this rank. */
static MPI_Offset first_row(void) { return ROWS * rank / ranks; }
static MPI_Offset row_count(void) { return ROWS * (rank + 1) / ranks - first_row(); }

static void fill(int *buffer, int variable, MPI_Offset first, MPI_Offset count) {
    for (int i = 0; i < count; i++)
        for (int k = 0; k < COLUMNS; k++)
            buffer[i * COLUMNS + k] = value(variable, (int)first + i, k);
}

static int same(const int *buffer, int variable, MPI_Offset first, MPI_Offset count) {
    for (int i = 0; i < count; i++)
        for (int k = 0; k < COLUMNS; k++)
            if (buffer[i * COLUMNS + k] != value(variable, (int)first + i, k))
                return 0;
    return 1;
}

/* Every other column of this rank's rows, as one list of starts and counts. */
static int columns(MPI_Offset ***starts, MPI_Offset ***counts) {
    const int pieces = (int)row_count() * COLUMNS / 2;
    *starts = malloc((size_t)(pieces + 1) * sizeof **starts);
    *counts = malloc((size_t)(pieces + 1) * sizeof **counts);
    for (int i = 0; i < pieces; i++) {
        (*starts)[i] = malloc(2 * sizeof(MPI_Offset));
        (*counts)[i] = malloc(2 * sizeof(MPI_Offset));
        (*starts)[i][0] = first_row() + i / (COLUMNS / 2);
        (*starts)[i][1] = 2 * (i % (COLUMNS / 2));
        (*counts)[i][0] = (*counts)[i][1] = 1;
    }
    return pieces;
}

static void release(MPI_Offset **list, int pieces) {
    for (int i = 0; i < pieces; i++)
        free(list[i]);
    free(list);
}

/* The rows of this rank in the order of the file. */
static MPI_Datatype rows_type(void) {
    MPI_Datatype type;
    int sizes[] = {ROWS, COLUMNS}, part[] = {(int)row_count(), COLUMNS}, start[] = {(int)first_row(), 0};
    MPI_Type_create_subarray(2, sizes, part, start, MPI_ORDER_C, MPI_INT, &type);
    MPI_Type_commit(&type);
    return type;
}

static void write_file(const char *name) {
    int file, rows, column, time, dimensions[3], variables[4], records, requests[2], statuses[2];
    int *buffer = malloc(sizeof(int) * ROWS * COLUMNS), *second = malloc(sizeof(int) * ROWS * COLUMNS);
    MPI_Offset start[3] = {first_row(), 0, 0}, count[3] = {row_count(), COLUMNS, 0}, **starts, **counts;
    OK(ncmpi_create(MPI_COMM_WORLD, name, NC_CLOBBER | NC_64BIT_DATA, MPI_INFO_NULL, &file));
    OK(ncmpi_def_dim(file, "row", ROWS, &rows));
    OK(ncmpi_def_dim(file, "column", COLUMNS, &column));
    OK(ncmpi_def_dim(file, "time", NC_UNLIMITED, &time));
    dimensions[0] = rows, dimensions[1] = column;
    OK(ncmpi_def_var(file, "blocking", NC_INT, 2, dimensions, &variables[0]));
    OK(ncmpi_def_var(file, "nonblocking", NC_INT, 2, dimensions, &variables[1]));
    OK(ncmpi_def_var(file, "varn", NC_INT, 2, dimensions, &variables[2]));
    OK(ncmpi_def_var(file, "vard", NC_INT, 2, dimensions, &variables[3]));
    dimensions[0] = time, dimensions[1] = rows;
    OK(ncmpi_def_var(file, "records", NC_DOUBLE, 2, dimensions, &records));
    OK(ncmpi_put_att_text(file, NC_GLOBAL, "title", 19, "written in parallel"));
    OK(ncmpi_def_var_fill(file, variables[2], 0, NULL));
    OK(ncmpi_enddef(file));

    fill(buffer, 0, first_row(), row_count());
    OK(ncmpi_put_vara_int_all(file, variables[0], start, count, buffer));

    fill(buffer, 1, first_row(), row_count());
    MPI_Offset half[2] = {row_count() / 2, COLUMNS}, rest[2] = {row_count() - row_count() / 2, COLUMNS};
    MPI_Offset middle[2] = {first_row() + half[0], 0};
    OK(ncmpi_iput_vara_int(file, variables[1], middle, rest, buffer + half[0] * COLUMNS, &requests[0]));
    OK(ncmpi_iput_vara_int(file, variables[1], start, half, buffer, &requests[1]));
    OK(ncmpi_wait_all(file, 2, requests, statuses));
    OK(statuses[0]);
    OK(statuses[1]);

    const int pieces = columns(&starts, &counts);
    for (int i = 0; i < pieces; i++)
        second[i] = value(2, (int)starts[i][0], (int)starts[i][1]);
    OK(ncmpi_put_varn_int_all(file, variables[2], pieces, starts, counts, second));
    for (int i = 0; i < pieces; i++) {
        starts[i][1]++;
        second[i]++;
    }
    OK(ncmpi_put_varn_int_all(file, variables[2], pieces, starts, counts, second));
    release(starts, pieces);
    release(counts, pieces);

    MPI_Datatype type = rows_type();
    fill(buffer, 3, first_row(), row_count());
    OK(ncmpi_put_vard_all(file, variables[3], type, buffer, row_count() * COLUMNS, MPI_INT));
    MPI_Type_free(&type);

    /* Records, each rank by itself. */
    OK(ncmpi_begin_indep_data(file));
    for (int step = 0; step < STEPS; step++)
        for (MPI_Offset row = first_row(); row < first_row() + row_count(); row++) {
            double number = step + row / 100.0;
            MPI_Offset place[2] = {step, row}, one[2] = {1, 1};
            OK(ncmpi_put_vara_double(file, records, place, one, &number));
        }
    OK(ncmpi_end_indep_data(file));
    OK(ncmpi_close(file));
    free(buffer);
    free(second);
}

static void check_file(const char *name) {
    static const char *const names[] = {"blocking", "nonblocking", "varn", "vard"};
    int file, variable, request, status;
    int *buffer = malloc(sizeof(int) * ROWS * COLUMNS);
    double numbers[STEPS * ROWS];
    char title[32] = "";
    MPI_Offset start[2] = {first_row(), 0}, count[2] = {row_count(), COLUMNS}, steps = 0;
    OK(ncmpi_open(MPI_COMM_WORLD, name, NC_NOWRITE, MPI_INFO_NULL, &file));
    OK(ncmpi_get_att_text(file, NC_GLOBAL, "title", title));
    check(strcmp(title, "written in parallel") == 0, "title");
    for (int i = 0; i < 4; i++) {
        OK(ncmpi_inq_varid(file, names[i], &variable));
        memset(buffer, 0, sizeof(int) * ROWS * COLUMNS);
        OK(ncmpi_get_vara_int_all(file, variable, start, count, buffer));
        check(same(buffer, i, first_row(), row_count()), names[i]);
        memset(buffer, 0, sizeof(int) * ROWS * COLUMNS);
        OK(ncmpi_iget_vara_int(file, variable, start, count, buffer, &request));
        OK(ncmpi_wait_all(file, 1, &request, &status));
        check(same(buffer, i, first_row(), row_count()), "nonblocking");
        MPI_Datatype type = rows_type();
        memset(buffer, 0, sizeof(int) * ROWS * COLUMNS);
        OK(ncmpi_get_vard_all(file, variable, type, buffer, row_count() * COLUMNS, MPI_INT));
        MPI_Type_free(&type);
        check(same(buffer, i, first_row(), row_count()), "vard");
        OK(ncmpi_begin_indep_data(file));
        memset(buffer, 0, sizeof(int) * ROWS * COLUMNS);
        OK(ncmpi_get_var_int(file, variable, buffer));
        check(same(buffer, i, 0, ROWS), "each rank by itself");
        OK(ncmpi_end_indep_data(file));
    }
    OK(ncmpi_inq_varid(file, "records", &variable));
    int dimension;
    OK(ncmpi_inq_dimid(file, "time", &dimension));
    OK(ncmpi_inq_dimlen(file, dimension, &steps));
    check(steps == STEPS, "records");
    OK(ncmpi_get_var_double_all(file, variable, numbers));
    for (int i = 0; i < STEPS * ROWS; i++)
        check(numbers[i] == i / ROWS + (i % ROWS) / 100.0, "values of records");
    OK(ncmpi_close(file));
    free(buffer);
}

int main(int argc, char **argv) {
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &ranks);
    if (argc == 3 && strcmp(argv[1], "write") == 0)
        write_file(argv[2]);
    else if (argc == 3 && strcmp(argv[1], "check") == 0)
        check_file(argv[2]);
    else
        MPI_Abort(MPI_COMM_WORLD, 2);
    if (rank == 0)
        printf("pnetcdf: %d checks\n", checks);
    MPI_Finalize();
    return 0;
}
