/*
 * Every way to read and to write: the same small tests for each, whether it blocks, is collective, or in two parts.
 */
#include "observe.h"

enum pointer { EXPLICIT, INDIVIDUAL, SHARED, ORDERED };
enum { NUMBERS = 6 };

#define ARGUMENTS MPI_File f, MPI_Offset at, void *b, MPI_Count n, MPI_Datatype t, MPI_Status *s
typedef int call(ARGUMENTS);

#define BLOCKING_AT(F, C) \
    static int go_##F(ARGUMENTS) { return MPI_File_##F(f, at, b, (C)n, t, s); }
#define BLOCKING(F, C) \
    static int go_##F(ARGUMENTS) { return (void)at, MPI_File_##F(f, b, (C)n, t, s); }
#define NONBLOCKING_AT(F, C)                               \
    static int go_##F(ARGUMENTS) {                         \
        MPI_Request q = MPI_REQUEST_NULL;                  \
        int code = MPI_File_##F(f, at, b, (C)n, t, &q);    \
        return code != MPI_SUCCESS ? code : MPI_Wait(&q, s); \
    }
#define SPLIT_AT(F, BEGIN, C)                              \
    static int go_##F##BEGIN(ARGUMENTS) {                  \
        int code = MPI_File_##F##BEGIN(f, at, b, (C)n, t); \
        return code != MPI_SUCCESS ? code : MPI_File_##F##_end(f, b, s); \
    }
#define SPLIT(F, BEGIN, C)                                 \
    static int go_##F##BEGIN(ARGUMENTS) {                  \
        int code = ((void)at, MPI_File_##F##BEGIN(f, b, (C)n, t)); \
        return code != MPI_SUCCESS ? code : MPI_File_##F##_end(f, b, s); \
    }

#define NONBLOCKING(F, C)                                  \
    static int go_##F(ARGUMENTS) {                         \
        MPI_Request q = MPI_REQUEST_NULL;                  \
        int code = ((void)at, MPI_File_##F(f, b, (C)n, t, &q)); \
        return code != MPI_SUCCESS ? code : MPI_Wait(&q, s); \
    }

#define ALL(SUFFIX, C)                                     \
    BLOCKING_AT(read_at##SUFFIX, C)                        \
    BLOCKING_AT(read_at_all##SUFFIX, C)                    \
    BLOCKING_AT(write_at##SUFFIX, C)                       \
    BLOCKING_AT(write_at_all##SUFFIX, C)                   \
    BLOCKING(read##SUFFIX, C)                              \
    BLOCKING(read_all##SUFFIX, C)                          \
    BLOCKING(write##SUFFIX, C)                             \
    BLOCKING(write_all##SUFFIX, C)                         \
    BLOCKING(read_shared##SUFFIX, C)                       \
    BLOCKING(write_shared##SUFFIX, C)                      \
    BLOCKING(read_ordered##SUFFIX, C)                      \
    BLOCKING(write_ordered##SUFFIX, C)                     \
    NONBLOCKING_AT(iread_at##SUFFIX, C)                    \
    NONBLOCKING_AT(iread_at_all##SUFFIX, C)                \
    NONBLOCKING_AT(iwrite_at##SUFFIX, C)                   \
    NONBLOCKING_AT(iwrite_at_all##SUFFIX, C)               \
    NONBLOCKING(iread##SUFFIX, C)                          \
    NONBLOCKING(iread_all##SUFFIX, C)                      \
    NONBLOCKING(iwrite##SUFFIX, C)                         \
    NONBLOCKING(iwrite_all##SUFFIX, C)                     \
    NONBLOCKING(iread_shared##SUFFIX, C)                   \
    NONBLOCKING(iwrite_shared##SUFFIX, C)                  \
    SPLIT_AT(read_at_all, _begin##SUFFIX, C)               \
    SPLIT_AT(write_at_all, _begin##SUFFIX, C)              \
    SPLIT(read_all, _begin##SUFFIX, C)                     \
    SPLIT(write_all, _begin##SUFFIX, C)                    \
    SPLIT(read_ordered, _begin##SUFFIX, C)                 \
    SPLIT(write_ordered, _begin##SUFFIX, C)

ALL(, int)
#if HAS_LARGE_COUNTS
ALL(_c, MPI_Count)
#endif

static const struct way {
    const char *name;
    /* The function that ends it, if there is one. */
    const char *end;
    enum pointer pointer;
    int writes, is_collective;
    call *go;
} all[] = {
#define WAY(F, END, POINTER, WRITES, COLLECTIVE) {"MPI_File_" #F, END, POINTER, WRITES, COLLECTIVE, go_##F}
#define WAYS(SUFFIX)                                                                     \
    WAY(read_at##SUFFIX, NULL, EXPLICIT, 0, 0), WAY(write_at##SUFFIX, NULL, EXPLICIT, 1, 0), \
    WAY(read_at_all##SUFFIX, NULL, EXPLICIT, 0, 1), WAY(write_at_all##SUFFIX, NULL, EXPLICIT, 1, 1), \
    WAY(iread_at##SUFFIX, NULL, EXPLICIT, 0, 0), WAY(iwrite_at##SUFFIX, NULL, EXPLICIT, 1, 0), \
    WAY(iread_at_all##SUFFIX, NULL, EXPLICIT, 0, 1), WAY(iwrite_at_all##SUFFIX, NULL, EXPLICIT, 1, 1), \
    WAY(read_at_all_begin##SUFFIX, "MPI_File_read_at_all_end", EXPLICIT, 0, 1), \
    WAY(write_at_all_begin##SUFFIX, "MPI_File_write_at_all_end", EXPLICIT, 1, 1), \
    WAY(read##SUFFIX, NULL, INDIVIDUAL, 0, 0), WAY(write##SUFFIX, NULL, INDIVIDUAL, 1, 0), \
    WAY(read_all##SUFFIX, NULL, INDIVIDUAL, 0, 1), WAY(write_all##SUFFIX, NULL, INDIVIDUAL, 1, 1), \
    WAY(iread##SUFFIX, NULL, INDIVIDUAL, 0, 0), WAY(iwrite##SUFFIX, NULL, INDIVIDUAL, 1, 0), \
    WAY(iread_all##SUFFIX, NULL, INDIVIDUAL, 0, 1), WAY(iwrite_all##SUFFIX, NULL, INDIVIDUAL, 1, 1), \
    WAY(read_all_begin##SUFFIX, "MPI_File_read_all_end", INDIVIDUAL, 0, 1), \
    WAY(write_all_begin##SUFFIX, "MPI_File_write_all_end", INDIVIDUAL, 1, 1), \
    WAY(read_shared##SUFFIX, NULL, SHARED, 0, 0), WAY(write_shared##SUFFIX, NULL, SHARED, 1, 0), \
    WAY(iread_shared##SUFFIX, NULL, SHARED, 0, 0), WAY(iwrite_shared##SUFFIX, NULL, SHARED, 1, 0), \
    WAY(read_ordered##SUFFIX, NULL, ORDERED, 0, 1), WAY(write_ordered##SUFFIX, NULL, ORDERED, 1, 1), \
    WAY(read_ordered_begin##SUFFIX, "MPI_File_read_ordered_end", ORDERED, 0, 1), \
    WAY(write_ordered_begin##SUFFIX, "MPI_File_write_ordered_end", ORDERED, 1, 1)
    WAYS(),
#if HAS_LARGE_COUNTS
    WAYS(_c),
#endif
};

int ways(void) { return (int)(sizeof all / sizeof *all); }

const char *way_name(int number) { return all[number].name; }

/* Puts down what an access gave, for each function that had part in it. */
static void saw_access(const struct way *way, const char *what, const char *wanted, int code, MPI_Status *status) {
    const char *count = code == MPI_SUCCESS ? count_of(status, MPI_INT) : "no";
    saw(way->name, what, wanted, "%s %s", class_of(code), count);
    if (way->end)
        saw(way->end, text("%s of %s", what, way->name), wanted, "%s %s", class_of(code), count);
}

/* One access of every rank: in turns by the shared pointer, each for itself or together otherwise. */
static int access_by(const struct way *way, MPI_File file, MPI_Offset at, void *buffer, MPI_Count count, MPI_Datatype type,
                     MPI_Status *status) {
    int code = MPI_SUCCESS;
    if (way->pointer == INDIVIDUAL)
        MPI_File_seek(file, at, MPI_SEEK_SET);
    for (int turn = 0; turn < ranks; turn++) {
        if (way->pointer != SHARED)
            return way->go(file, at, buffer, count, type, status);
        if (turn == rank)
            code = way->go(file, at, buffer, count, type, status);
        MPI_Barrier(MPI_COMM_WORLD);
    }
    return code;
}

/* Where the pointer of a way stands. */
static MPI_Offset position(const struct way *way, MPI_File file) {
    MPI_Offset offset = -1;
    MPI_Barrier(MPI_COMM_WORLD);
    if (way->pointer == SHARED || way->pointer == ORDERED)
        MPI_File_get_position_shared(file, &offset);
    else
        MPI_File_get_position(file, &offset);
    MPI_Barrier(MPI_COMM_WORLD);
    return offset;
}

static const char *wanted_position(const struct way *way, MPI_Offset own, MPI_Offset shared) {
    MPI_Offset wanted = way->pointer == EXPLICIT ? 0 : way->pointer == INDIVIDUAL ? own : shared;
    return text("%lld", (long long)wanted);
}

static void saw_position(const struct way *way, const char *what, MPI_File file, MPI_Offset own, MPI_Offset shared) {
    saw(way->name, text("%s: position", what), wanted_position(way, own, shared), "%lld", (long long)position(way, file));
}

static void writes_contiguous(const struct way *way) {
    MPI_File file = open_all(way->name, MPI_MODE_CREATE | MPI_MODE_RDWR);
    int mine[NUMBERS], whole[64];
    MPI_Status status;
    for (int i = 0; i < NUMBERS * ranks; i++)
        whole[i] = 11 * i + 1;
    memcpy(mine, whole + NUMBERS * rank, sizeof mine);
    MPI_File_set_view(file, 0, MPI_INT, MPI_INT, "native", MPI_INFO_NULL);
    int code = access_by(way, file, NUMBERS * rank, mine, NUMBERS, MPI_INT, &status);
    saw_access(way, "one after the other", "SUCCESS 6", code, &status);
    saw_position(way, "one after the other", file, NUMBERS * (rank + 1), NUMBERS * ranks);
    code = access_by(way, file, NUMBERS * ranks, mine, 0, MPI_INT, &status);
    saw_access(way, "nothing", "SUCCESS 0", code, &status);
    settle(file);
    saw(way->name, "one after the other: bytes", "as written", "%s",
        compared(file, whole, (MPI_Offset)sizeof(int) * NUMBERS * ranks));
    MPI_File_close(&file);
}

/* Views with gaps, buffers with gaps. By shared pointers the views must be the same on all ranks. */
static void accesses_strided(const struct way *way) {
    const int is_shared = way->pointer == SHARED || way->pointer == ORDERED;
    const int apart = is_shared ? 2 : ranks, values = 3 * ranks;
    const MPI_Offset displacement = 8 + (is_shared ? 0 : 4 * rank);
    const char *name = text("%s-strided", way->name);
    MPI_Datatype filetype, memory;
    MPI_Status status;
    int whole[64] = {0}, buffer[6], code;
    MPI_Type_create_resized(MPI_INT, 0, 4 * apart, &filetype);
    MPI_Type_commit(&filetype);
    MPI_Type_vector(3, 1, 2, MPI_INT, &memory);
    MPI_Type_commit(&memory);
    /* The value at place I of all, in the order of the ranks' turns or interleaved. */
    const int last = is_shared ? 2 + apart * (values - 1) : 2 + values - 1;
    for (int r = 0; r < ranks; r++)
        for (int i = 0; i < 3; i++)
            whole[is_shared ? 2 + apart * (3 * r + i) : 2 + r + apart * i] = 100 * (r + 1) + i;
    if (!way->writes && rank == 0) {
        MPI_File file;
        MPI_File_open(MPI_COMM_SELF, named(name), MPI_MODE_CREATE | MPI_MODE_WRONLY, MPI_INFO_NULL, &file);
        MPI_File_write_at(file, 0, whole, last + 1, MPI_INT, MPI_STATUS_IGNORE);
        MPI_File_close(&file);
    }
    MPI_Barrier(MPI_COMM_WORLD);
    MPI_File file = open_all(name, MPI_MODE_CREATE | MPI_MODE_RDWR);
    MPI_File_set_view(file, displacement, MPI_INT, filetype, "native", MPI_INFO_NULL);
    for (int i = 0; i < 6; i++)
        buffer[i] = way->writes && i % 2 == 0 ? 100 * (rank + 1) + i / 2 : -5;
    code = access_by(way, file, 0, buffer, 1, memory, &status);
    saw_access(way, "with gaps", "SUCCESS 3", code, &status);
    saw_position(way, "with gaps", file, 3, 3 * ranks);
    if (way->writes) {
        settle(file);
        saw(way->name, "with gaps: bytes", "as written", "%s", compared(file, whole, 4 * (last + 1)));
    } else {
        int right = 1;
        for (int i = 0; i < 6; i++)
            right = right && buffer[i] == (i % 2 == 0 ? 100 * (rank + 1) + i / 2 : -5);
        saw(way->name, "with gaps: bytes", "as written", "%s", right ? "as written" : "other values");
    }
    MPI_Type_free(&filetype);
    MPI_Type_free(&memory);
    MPI_File_close(&file);
}

static void reads(const struct way *way) {
    const int total = NUMBERS * ranks;
    int mine[NUMBERS], right = 1;
    MPI_Status status;
    make_numbers(way->name, total, 0);
    MPI_File file = open_all(way->name, MPI_MODE_RDONLY);
    MPI_File_set_view(file, 0, MPI_INT, MPI_INT, "native", MPI_INFO_NULL);
    int code = access_by(way, file, NUMBERS * rank, mine, NUMBERS, MPI_INT, &status);
    saw_access(way, "one after the other", "SUCCESS 6", code, &status);
    saw_position(way, "one after the other", file, NUMBERS * (rank + 1), total);
    for (int i = 0; i < NUMBERS; i++)
        right = right && mine[i] == 7 * (NUMBERS * rank + i);
    saw(way->name, "one after the other: bytes", "as written", "%s", right ? "as written" : "other values");

    code = access_by(way, file, 0, mine, 0, MPI_INT, &status);
    saw_access(way, "nothing", "SUCCESS 0", code, &status);

    MPI_File_close(&file);
}

/* Reading over the end of a file and behind it. */
void way_end(int number) {
    const struct way *way = &all[number];
    if (way->writes)
        return;
    const char *name = text("%s-end", way->name);
    const int total = NUMBERS * ranks;
    int mine[NUMBERS];
    MPI_Status status;
    make_numbers(name, total, 0);
    MPI_File file = open_all(name, MPI_MODE_RDONLY);
    MPI_File_set_view(file, 0, MPI_INT, MPI_INT, "native", MPI_INFO_NULL);

    /* Two values are left: the first rank by the shared pointer has them, every one that reads where it likes. */
    const int is_first = rank == 0 || way->pointer == EXPLICIT || way->pointer == INDIVIDUAL;
    if (way->pointer == SHARED || way->pointer == ORDERED)
        MPI_File_seek_shared(file, total - 2, MPI_SEEK_SET);
    memset(mine, 0, sizeof mine);
    int code = access_by(way, file, total - 2, mine, NUMBERS, MPI_INT, &status);
    saw_access(way, "over the end", is_first ? "SUCCESS 2" : "SUCCESS 0", code, &status);
    int right = !is_first || (mine[0] == 7 * (total - 2) && mine[1] == 7 * (total - 1));
    saw(way->name, "over the end: bytes", "as written", "%s", right && mine[2] == 0 ? "as written" : "other values");
    /* "The next etype after the last one that will be accessed" (14.4.1) can be behind what was asked for or behind the end. */
    saw(way->name, "over the end: position",
        text("%s|%s", wanted_position(way, total - 2 + NUMBERS, total - 2 + NUMBERS * ranks), wanted_position(way, total, total)),
        "%lld", (long long)position(way, file));
    if (way->pointer == SHARED || way->pointer == ORDERED)
        MPI_File_seek_shared(file, total + 50, MPI_SEEK_SET);
    code = access_by(way, file, total + 50, mine, NUMBERS, MPI_INT, &status);
    saw_access(way, "behind the end", "SUCCESS 0", code, &status);
    MPI_File_close(&file);
}

void way(int number) {
    const struct way *way = &all[number];
    if (way->writes)
        writes_contiguous(way);
    else
        reads(way);
    accesses_strided(way);
}

/* What must be refused, and change nothing. All ranks do the same wrong thing. */
void way_wrong(int number) {
    const struct way *way = &all[number];
    const char *name = text("%s-wrong", way->name);
    int buffer[4] = {0};
    MPI_Datatype pair;
    MPI_Status status;
    make_numbers(name, 4, 0);
    saw(way->name, "of no file", "FILE", "%s", class_of(way->go(MPI_FILE_NULL, 0, buffer, 1, MPI_INT, &status)));
    MPI_File file = open_all(name, way->writes ? MPI_MODE_RDONLY : MPI_MODE_WRONLY);
    const char *refused = way->writes ? "READ_ONLY|ACCESS" : "ACCESS";
    saw(way->name, "not of the mode", refused, "%s", class_of(access_by(way, file, 0, buffer, 1, MPI_INT, &status)));
    MPI_File_close(&file);
    file = open_all(name, MPI_MODE_RDWR);
    MPI_File_set_view(file, 0, MPI_INT, MPI_INT, "native", MPI_INFO_NULL);
    saw(way->name, "count of -1", "COUNT|ARG", "%s", class_of(access_by(way, file, 0, buffer, -1, MPI_INT, &status)));
    saw(way->name, "no datatype", "TYPE", "%s", class_of(access_by(way, file, 0, buffer, 1, MPI_DATATYPE_NULL, &status)));
    MPI_Type_contiguous(2, MPI_INT, &pair);
    saw(way->name, "not committed", "TYPE", "%s", class_of(access_by(way, file, 0, buffer, 1, pair, &status)));
    MPI_Type_free(&pair);
    saw(way->name, "half an etype", "IO|ARG|TYPE|OTHER", "%s", class_of(access_by(way, file, 0, buffer, 2, MPI_BYTE, &status)));
    if (way->pointer == EXPLICIT)
        saw(way->name, "offset of -1", "ARG", "%s", class_of(access_by(way, file, -1, buffer, 1, MPI_INT, &status)));
    MPI_File_close(&file);
    if (way->pointer == EXPLICIT) {
        file = open_all(name, MPI_MODE_SEQUENTIAL | (way->writes ? MPI_MODE_WRONLY : MPI_MODE_RDONLY));
        saw(way->name, "of a sequence", "UNSUPPORTED_OPERATION", "%s",
            class_of(access_by(way, file, 0, buffer, 1, MPI_INT, &status)));
        MPI_File_close(&file);
    }
}
