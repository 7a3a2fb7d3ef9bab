#include "observe.h"

int rank, ranks;
FILE *observations;
const char *folder;

void saw(const char *function, const char *what, const char *wanted, const char *seen, ...) {
    va_list arguments;
    fprintf(observations, "%s\t%s\t", function, what);
    va_start(arguments, seen);
    vfprintf(observations, seen, arguments);
    va_end(arguments);
    fprintf(observations, "\t%s\n", wanted);
    /* A section that ends the process keeps what was seen before. */
    fflush(observations);
}

void returned(const char *function, const char *what, const char *wanted, int code) {
    saw(function, what, wanted, "%s", class_of(code));
}

const char *class_of(int code) {
    static const struct {
        int class;
        const char *name;
    } names[] = {
        {MPI_SUCCESS, "SUCCESS"},
        {MPI_ERR_FILE, "FILE"},
        {MPI_ERR_NOT_SAME, "NOT_SAME"},
        {MPI_ERR_AMODE, "AMODE"},
        {MPI_ERR_UNSUPPORTED_DATAREP, "UNSUPPORTED_DATAREP"},
        {MPI_ERR_UNSUPPORTED_OPERATION, "UNSUPPORTED_OPERATION"},
        {MPI_ERR_NO_SUCH_FILE, "NO_SUCH_FILE"},
        {MPI_ERR_FILE_EXISTS, "FILE_EXISTS"},
        {MPI_ERR_BAD_FILE, "BAD_FILE"},
        {MPI_ERR_ACCESS, "ACCESS"},
        {MPI_ERR_NO_SPACE, "NO_SPACE"},
        {MPI_ERR_QUOTA, "QUOTA"},
        {MPI_ERR_READ_ONLY, "READ_ONLY"},
        {MPI_ERR_FILE_IN_USE, "FILE_IN_USE"},
        {MPI_ERR_DUP_DATAREP, "DUP_DATAREP"},
        {MPI_ERR_CONVERSION, "CONVERSION"},
        {MPI_ERR_IO, "IO"},
        {MPI_ERR_ARG, "ARG"},
        {MPI_ERR_COUNT, "COUNT"},
        {MPI_ERR_TYPE, "TYPE"},
        {MPI_ERR_BUFFER, "BUFFER"},
        {MPI_ERR_COMM, "COMM"},
        {MPI_ERR_INFO, "INFO"},
        {MPI_ERR_REQUEST, "REQUEST"},
        {MPI_ERR_OTHER, "OTHER"},
        {MPI_ERR_UNKNOWN, "UNKNOWN"},
        {MPI_ERR_INTERN, "INTERN"},
    };
    int class = code;
    if (code != MPI_SUCCESS)
        MPI_Error_class(code, &class);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (names[i].class == class)
            return names[i].name;
    return text("class %d", class);
}

const char *text(const char *format, ...) {
    static char buffers[8][256];
    static int turn;
    char *buffer = buffers[turn++ % 8];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(buffer, sizeof buffers[0], format, arguments);
    va_end(arguments);
    return buffer;
}

const char *named(const char *name) {
    static char buffers[4][512];
    static int turn;
    char *buffer = buffers[turn++ % 4];
    snprintf(buffer, sizeof buffers[0], "%s%s", folder, name);
    return buffer;
}

MPI_File open_all(const char *name, int amode) {
    MPI_File file;
    int code = MPI_File_open(MPI_COMM_WORLD, named(name), amode, MPI_INFO_NULL, &file);
    if (code != MPI_SUCCESS) {
        saw("MPI_File_open", text("of %s", name), "SUCCESS", "%s", class_of(code));
        exit(3);
    }
    return file;
}

void make_numbers(const char *name, int ints, int bytes) {
    if (rank == 0) {
        MPI_File file;
        int *numbers = malloc((size_t)ints * sizeof *numbers + (size_t)bytes);
        for (int i = 0; i < ints; i++)
            numbers[i] = 7 * i;
        memset(numbers + ints, 0xAA, (size_t)bytes);
        int code = MPI_File_open(MPI_COMM_SELF, named(name), MPI_MODE_CREATE | MPI_MODE_WRONLY, MPI_INFO_NULL, &file);
        if (code == MPI_SUCCESS)
            code = MPI_File_set_size(file, 0);
        if (code == MPI_SUCCESS)
            code = MPI_File_write_at(file, 0, numbers, ints * (int)sizeof *numbers + bytes, MPI_BYTE, MPI_STATUS_IGNORE);
        if (code == MPI_SUCCESS)
            code = MPI_File_close(&file);
        if (code != MPI_SUCCESS) {
            saw("MPI_File_write_at", text("making %s", name), "SUCCESS", "%s", class_of(code));
            exit(3);
        }
        free(numbers);
    }
    MPI_Barrier(MPI_COMM_WORLD);
}

void settle(MPI_File file) {
    MPI_File_sync(file);
    MPI_Barrier(MPI_COMM_WORLD);
    MPI_File_sync(file);
}

const char *compared(MPI_File file, const void *wanted, MPI_Offset bytes) {
    MPI_Offset size = -1;
    MPI_Status status;
    unsigned char *seen = calloc(1, (size_t)bytes + 1);
    const unsigned char *right = wanted;
    const char *found = "as written";
    MPI_File_set_view(file, 0, MPI_BYTE, MPI_BYTE, "native", MPI_INFO_NULL);
    MPI_File_get_size(file, &size);
    MPI_File_read_at(file, 0, seen, (int)bytes, MPI_BYTE, &status);
    if (size != bytes)
        found = text("%lld bytes, not %lld", (long long)size, (long long)bytes);
    for (MPI_Offset i = 0; i < bytes && strcmp(found, "as written") == 0; i++)
        if (seen[i] != right[i])
            found = text("byte %lld is %d, not %d", (long long)i, seen[i], right[i]);
    free(seen);
    return found;
}

const char *count_of(MPI_Status *status, MPI_Datatype type) {
    int count = -1;
    MPI_Get_count(status, type, &count);
    return count == MPI_UNDEFINED ? "UNDEFINED" : text("%d", count);
}
