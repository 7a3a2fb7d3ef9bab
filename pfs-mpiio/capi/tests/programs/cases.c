/* What programs in C may do with files: cases by name, on any number of ranks. Each prints "ok" at rank 0, or what is wrong. */
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int rank, ranks, wrongs;
static char name[500];

#define EXPECT(what) do { if (!(what)) { printf("rank %d, line %d: %s\n", rank, __LINE__, #what); wrongs++; } } while (0)
#define OK(call) EXPECT((call) == MPI_SUCCESS)
#define RDWR (MPI_MODE_CREATE | MPI_MODE_RDWR)

static int class_of(int code) {
    int class;
    MPI_Error_class(code, &class);
    return class;
}

static MPI_File opened(int amode) {
    MPI_File file = MPI_FILE_NULL;
    OK(MPI_File_open(MPI_COMM_WORLD, name, amode, MPI_INFO_NULL, &file));
    return file;
}

static int seen_code, seen_calls;
static MPI_File seen_file;

static void remember(MPI_File *file, int *code, ...) {
    seen_file = *file, seen_code = *code, seen_calls++;
}

static void rewrite(MPI_File *file, int *code, ...) {
    seen_file = *file, seen_code = *code, seen_calls++;
    *code = MPI_ERR_QUOTA;
}

static void close_it(MPI_File *file, int *code, ...) {
    (void)code;
    seen_calls++;
    MPI_File mine = *file;
    MPI_File_close(&mine);
}

/* Handles are those of this MPI: they go to Fortran's numbers and back, and are null after the close. */
static void handles(void) {
    MPI_File files[20];
    for (int i = 0; i < 20; i++) {
        files[i] = opened(RDWR);
        for (int j = 0; j < i; j++) EXPECT(files[j] != files[i]);
        EXPECT(MPI_File_f2c(MPI_File_c2f(files[i])) == files[i]);
    }
    for (int i = 0; i < 20; i += 2) OK(MPI_File_close(&files[i]));
    for (int i = 1; i < 20; i += 2) {
        MPI_Offset size = -1;
        OK(MPI_File_get_size(files[i], &size));
        OK(MPI_File_close(&files[i]));
        EXPECT(files[i] == MPI_FILE_NULL);
    }
    EXPECT(MPI_File_f2c(MPI_File_c2f(MPI_FILE_NULL)) == MPI_FILE_NULL);
    MPI_File none = MPI_FILE_NULL;
    EXPECT(MPI_File_open(MPI_COMM_WORLD, name, MPI_MODE_CREATE, MPI_INFO_NULL, &none) != MPI_SUCCESS);
    EXPECT(none == MPI_FILE_NULL);
}

/* Handlers see the handle and the class, change the code, may close the file, and may be that of no file. */
static void handlers(void) {
    MPI_Errhandler remembers, rewrites, closes, before;
    OK(MPI_File_create_errhandler(remember, &remembers));
    OK(MPI_File_create_errhandler(rewrite, &rewrites));
    OK(MPI_File_create_errhandler(close_it, &closes));
    MPI_File file = opened(RDWR);
    OK(MPI_File_get_errhandler(file, &before));
    EXPECT(before == MPI_ERRORS_RETURN);
    MPI_Offset size;
    char byte = 0;
    OK(MPI_File_set_errhandler(file, remembers));
    seen_calls = 0;
    EXPECT(class_of(MPI_File_read_at(file, -1, &byte, 1, MPI_BYTE, MPI_STATUS_IGNORE)) == MPI_ERR_ARG);
    EXPECT(seen_calls == 1 && seen_file == file && class_of(seen_code) == MPI_ERR_ARG);
    OK(MPI_File_set_errhandler(file, rewrites));
    EXPECT(class_of(MPI_File_read_at(file, 0, &byte, -1, MPI_BYTE, MPI_STATUS_IGNORE)) == MPI_ERR_QUOTA);
    EXPECT(class_of(seen_code) == MPI_ERR_COUNT);
    OK(MPI_File_call_errhandler(file, MPI_ERR_IO));
    EXPECT(seen_calls == 3 && class_of(seen_code) == MPI_ERR_IO);
    OK(MPI_File_get_size(file, &size));
    EXPECT(seen_calls == 3);
    OK(MPI_File_set_errhandler(file, closes));
    EXPECT(MPI_File_set_size(file, -1) != MPI_SUCCESS);
    EXPECT(seen_calls == 4);

    OK(MPI_File_set_errhandler(MPI_FILE_NULL, rewrites));
    EXPECT(class_of(MPI_File_open(MPI_COMM_WORLD, name, MPI_MODE_RDONLY | MPI_MODE_RDWR, MPI_INFO_NULL, &file)) == MPI_ERR_QUOTA);
    EXPECT(seen_calls == 5 && seen_file == MPI_FILE_NULL && class_of(seen_code) == MPI_ERR_AMODE);
    OK(MPI_File_call_errhandler(MPI_FILE_NULL, MPI_ERR_IO));
    EXPECT(seen_calls == 6);
    file = opened(RDWR);
    EXPECT(class_of(MPI_File_seek(file, -1, MPI_SEEK_SET)) == MPI_ERR_QUOTA);
    EXPECT(seen_calls == 7 && seen_file == file);
    OK(MPI_File_close(&file));
    OK(MPI_File_set_errhandler(MPI_FILE_NULL, MPI_ERRORS_RETURN));
    MPI_Errhandler_free(&remembers);
    MPI_Errhandler_free(&rewrites);
    MPI_Errhandler_free(&closes);
}

static void check_status(MPI_Status *status, int values) {
    int count = -1;
    MPI_Get_count(status, MPI_INT, &count);
    EXPECT(count == values);
    MPI_Get_elements(status, MPI_INT, &count);
    EXPECT(count == values);
    MPI_Test_cancelled(status, &count);
    EXPECT(!count);
}

/* Requests of both kinds work with every function that waits or tests, mixed with those of messages. */
static void requests(void) {
    enum { N = 64 };
    static int out[8][N], in[8][N];
    MPI_File file = opened(RDWR);
    MPI_Request request[10];
    MPI_Status status[10];
    int flag, index, many, indices[10], got[2] = {-1, -1}, sent[2] = {rank, 7};
    for (int i = 0; i < 8; i++) for (int j = 0; j < N; j++) out[i][j] = 1000 * rank + 100 * i + j;
    for (int i = 0; i < 8; i++) OK(MPI_File_iwrite_at(file, (rank * 8 + i) * sizeof out[0], out[i], N, MPI_INT, &request[i]));
    OK(MPI_Irecv(got, 2, MPI_INT, (rank + 1) % ranks, 0, MPI_COMM_WORLD, &request[8]));
    OK(MPI_Isend(sent, 2, MPI_INT, (rank + ranks - 1) % ranks, 0, MPI_COMM_WORLD, &request[9]));
    OK(MPI_Waitall(10, request, status));
    for (int i = 0; i < 8; i++) check_status(&status[i], N);
    for (int i = 0; i < 10; i++) EXPECT(request[i] == MPI_REQUEST_NULL);
    EXPECT(got[0] == (rank + 1) % ranks && got[1] == 7);
    OK(MPI_File_sync(file));
    MPI_Barrier(MPI_COMM_WORLD);
    OK(MPI_File_sync(file));
    int next = (rank + 1) % ranks;
    for (int i = 0; i < 8; i++) OK(MPI_File_iread_at(file, (next * 8 + i) * sizeof out[0], in[i], N, MPI_INT, &request[i]));
    OK(MPI_Wait(&request[0], &status[0]));
    check_status(&status[0], N);
    do OK(MPI_Test(&request[1], &flag, &status[1])); while (!flag);
    check_status(&status[1], N);
    OK(MPI_Waitany(8, request, &index, &status[0]));
    EXPECT(index >= 2);
    check_status(&status[0], N);
    do OK(MPI_Testany(8, request, &index, &flag, MPI_STATUS_IGNORE)); while (!flag);
    EXPECT(index >= 2);
    OK(MPI_Waitsome(8, request, &many, indices, status));
    EXPECT(many >= 1);
    for (int i = 0; i < many; i++) check_status(&status[i], N);
    do OK(MPI_Testsome(8, request, &many, indices, MPI_STATUSES_IGNORE)); while (many == 0);
    do OK(MPI_Testall(8, request, &flag, MPI_STATUSES_IGNORE)); while (!flag);
    for (int i = 0; i < 8; i++) for (int j = 0; j < N; j++) EXPECT(in[i][j] == 1000 * next + 100 * i + j);
    OK(MPI_File_iread_at_all(file, 0, in[0], N, MPI_INT, &request[0]));
    OK(MPI_File_iread_all(file, in[1], N, MPI_INT, &request[1]));
    OK(MPI_Waitall(2, request, MPI_STATUSES_IGNORE));
    EXPECT(!memcmp(in[0], in[1], sizeof in[0]) && in[0][5] == 5);
    OK(MPI_File_iwrite_at(file, 0, out[0], 0, MPI_INT, &request[0]));
    OK(MPI_Request_free(&request[0]));
    EXPECT(class_of(MPI_File_iread_at(file, -5, in[0], 1, MPI_INT, &request[0])) == MPI_ERR_ARG);
    OK(MPI_File_close(&file));
}

/* An error of a nonblocking collective comes from the function that finds it complete, by the handler of the file. */
static void failed_requests(void) {
    MPI_File file = opened(RDWR);
    MPI_Errhandler remembers;
    MPI_Request request[3];
    MPI_Status status[3];
    int value = 1, flag, codes = 0;
    OK(MPI_File_create_errhandler(remember, &remembers));
    OK(MPI_File_set_errhandler(file, remembers));
    seen_calls = 0;
    OK(MPI_File_iwrite_at_all(file, rank == 0 ? -1 : 0, &value, 1, MPI_INT, &request[0]));
    EXPECT(class_of(MPI_Wait(&request[0], MPI_STATUS_IGNORE)) == MPI_ERR_ARG);
    EXPECT(seen_calls == 1 && seen_file == file && request[0] == MPI_REQUEST_NULL);
    OK(MPI_File_iwrite_at_all(file, 4 * rank, &value, 1, MPI_INT, &request[0]));
    OK(MPI_File_iwrite_at_all(file, -1, &value, 1, MPI_INT, &request[1]));
    OK(MPI_File_iwrite_at_all(file, 4 * rank, &value, 1, MPI_INT, &request[2]));
    EXPECT(MPI_Waitall(3, request, status) == MPI_ERR_IN_STATUS);
    for (int i = 0; i < 3; i++) codes += class_of(status[i].MPI_ERROR) == (i == 1 ? MPI_ERR_ARG : MPI_SUCCESS);
    EXPECT(codes == 3 && seen_calls == 2);
    OK(MPI_File_iwrite_at_all(file, -1, &value, 1, MPI_INT, &request[0]));
    int code;
    do code = MPI_Test(&request[0], &flag, MPI_STATUS_IGNORE); while (!flag);
    EXPECT(class_of(code) == MPI_ERR_ARG && seen_calls == 3);
    OK(MPI_File_close(&file));
    MPI_Errhandler_free(&remembers);
}

/* Communicators, datatypes and infos may be freed right after their use. */
static void freed(void) {
    MPI_Comm comm;
    MPI_Datatype filetype, memory, etype, shown, part;
    MPI_Info info;
    MPI_File file;
    MPI_Request request;
    MPI_Offset displacement;
    char representation[MPI_MAX_DATAREP_STRING];
    int out[8], in[16], size;
    OK(MPI_Comm_dup(MPI_COMM_WORLD, &comm));
    OK(MPI_Info_create(&info));
    OK(MPI_Info_set(info, "striping_unit", "65536"));
    OK(MPI_Info_set(info, "cb_nodes", "no number"));
    OK(MPI_Info_set(info, "nobody_knows_it", "1"));
    OK(MPI_File_open(comm, name, RDWR, info, &file));
    OK(MPI_Comm_free(&comm));
    OK(MPI_Info_free(&info));
    OK(MPI_File_get_info(file, &info));
    char value[MPI_MAX_INFO_VAL];
    OK(MPI_Info_get(info, "striping_unit", sizeof value - 1, value, &size));
    EXPECT(size && !strcmp(value, "65536"));
    OK(MPI_Info_free(&info));
    OK(MPI_Type_vector(8, 1, ranks, MPI_INT, &filetype));
    OK(MPI_Type_commit(&filetype));
    OK(MPI_File_set_view(file, 4 * rank, MPI_INT, filetype, "native", MPI_INFO_NULL));
    OK(MPI_Type_free(&filetype));
    for (int i = 0; i < 8; i++) out[i] = 10 * i + rank;
    OK(MPI_File_write_all(file, out, 8, MPI_INT, MPI_STATUS_IGNORE));
    OK(MPI_Type_vector(8, 1, 2, MPI_INT, &memory));
    OK(MPI_Type_commit(&memory));
    memset(in, 0, sizeof in);
    OK(MPI_File_iread_at(file, 0, in, 1, memory, &request));
    OK(MPI_Type_free(&memory));
    OK(MPI_Wait(&request, MPI_STATUS_IGNORE));
    for (int i = 0; i < 8; i++) EXPECT(in[2 * i] == out[i] && in[2 * i + 1] == 0);
    OK(MPI_File_get_view(file, &displacement, &etype, &shown, representation));
    EXPECT(displacement == 4 * rank && etype == MPI_INT && !strcmp(representation, "native"));
    OK(MPI_Type_size(shown, &size));
    EXPECT(size == 32);
    OK(MPI_Type_contiguous(2, shown, &part));
    OK(MPI_Type_free(&part));
    OK(MPI_Type_free(&shown));
    OK(MPI_File_close(&file));
    file = opened(RDWR);
    OK(MPI_File_get_view(file, &displacement, &etype, &shown, representation));
    EXPECT(displacement == 0 && etype == MPI_BYTE && shown == MPI_BYTE);
    OK(MPI_File_close(&file));
}

/* Absolute addresses, types without bytes, types that go back, nothing at all. */
static void memory(void) {
    int out[4] = {1, 2, 3, 4}, in[4] = {0}, lengths[2] = {1, 3}, count;
    MPI_Aint places[2];
    MPI_Datatype absolute, nothing, back;
    MPI_Status status;
    MPI_File file = opened(RDWR);
    MPI_Offset at = rank * sizeof out;
    OK(MPI_Get_address(&out[3], &places[0]));
    OK(MPI_Get_address(&out[0], &places[1]));
    OK(MPI_Type_create_hindexed(2, lengths, places, MPI_INT, &absolute));
    OK(MPI_Type_commit(&absolute));
    OK(MPI_File_write_at_all(file, at, MPI_BOTTOM, 1, absolute, &status));
    check_status(&status, 4);
    OK(MPI_Type_free(&absolute));
    OK(MPI_Type_contiguous(0, MPI_INT, &nothing));
    OK(MPI_Type_commit(&nothing));
    OK(MPI_File_write_at_all(file, at, NULL, 5, nothing, &status));
    MPI_Get_count(&status, nothing, &count);
    EXPECT(count == 0 || count == MPI_UNDEFINED);
    OK(MPI_File_read_at(file, at, NULL, 0, MPI_INT, &status));
    check_status(&status, 0);
    OK(MPI_Type_create_hvector(4, 1, -(MPI_Aint)sizeof(int), MPI_INT, &back));
    OK(MPI_Type_commit(&back));
    OK(MPI_File_read_at_all(file, at, &in[3], 1, back, &status));
    check_status(&status, 4);
    EXPECT(in[3] == 4 && in[2] == 1 && in[1] == 2 && in[0] == 3);
    OK(MPI_File_set_view(file, 0, MPI_INT, rank ? MPI_INT : MPI_INT, "native", MPI_INFO_NULL));
    EXPECT(class_of(MPI_File_write(file, out, 1, MPI_DATATYPE_NULL, &status)) == MPI_ERR_TYPE);
    EXPECT(class_of(MPI_File_set_view(file, 0, MPI_INT, MPI_DATATYPE_NULL, "native", MPI_INFO_NULL)) == MPI_ERR_TYPE);
    EXPECT(class_of(MPI_File_set_view(file, -1, MPI_INT, MPI_INT, "native", MPI_INFO_NULL)) == MPI_ERR_ARG);
    EXPECT(class_of(MPI_File_set_view(file, 0, MPI_INT, MPI_INT, "no such", MPI_INFO_NULL)) == MPI_ERR_UNSUPPORTED_DATAREP);
    OK(MPI_Type_free(&nothing));
    OK(MPI_Type_free(&back));
    OK(MPI_File_close(&file));
}

/* Communicators that can open files, and those that can not. */
static void communicators(void) {
    MPI_File file, own;
    char mine[600];
    snprintf(mine, sizeof mine, "%s-%d", name, rank);
    OK(MPI_File_open(MPI_COMM_SELF, mine, RDWR | MPI_MODE_DELETE_ON_CLOSE, MPI_INFO_NULL, &own));
    EXPECT(class_of(MPI_File_open(MPI_COMM_NULL, name, RDWR, MPI_INFO_NULL, &file)) == MPI_ERR_COMM);
    if (ranks > 1) {
        MPI_Comm half, inter, merged;
        int high = rank >= ranks / 2, number;
        OK(MPI_Comm_split(MPI_COMM_WORLD, high, rank, &half));
        OK(MPI_Intercomm_create(half, 0, MPI_COMM_WORLD, high ? 0 : ranks / 2, 1, &inter));
        EXPECT(class_of(MPI_File_open(inter, name, RDWR, MPI_INFO_NULL, &file)) == MPI_ERR_COMM);
        OK(MPI_Intercomm_merge(inter, high, &merged));
        OK(MPI_File_open(merged, name, RDWR, MPI_INFO_NULL, &file));
        MPI_Group group;
        OK(MPI_File_get_group(file, &group));
        OK(MPI_Group_size(group, &number));
        EXPECT(number == ranks);
        OK(MPI_Group_free(&group));
        OK(MPI_Comm_free(&half));
        OK(MPI_Comm_free(&inter));
        OK(MPI_Comm_free(&merged));
        OK(MPI_File_write_ordered(file, &rank, 1, MPI_INT, MPI_STATUS_IGNORE));
        OK(MPI_File_close(&file));
    }
    OK(MPI_File_close(&own));
    EXPECT(class_of(MPI_File_delete(mine, MPI_INFO_NULL)) == MPI_ERR_NO_SUCH_FILE);
}

/* A rank's own write is there for another one after a message. */
static void seen_at_once(void) {
    MPI_File file = opened(RDWR);
    for (int round = 0; round < 20; round++) {
        int value = 100 * round + 1, found = -1, last = ranks - 1;
        if (rank == last) OK(MPI_File_write_at(file, 8, &value, 1, MPI_INT, MPI_STATUS_IGNORE));
        MPI_Barrier(MPI_COMM_WORLD);
        OK(MPI_File_read_at(file, 8, &found, 1, MPI_INT, MPI_STATUS_IGNORE));
        EXPECT(found == value);
        MPI_Barrier(MPI_COMM_WORLD);
    }
    OK(MPI_File_close(&file));
}

/* Two files are left open; a library's attribute that closes one comes first. */
static int closes(MPI_Comm comm, int key, void *value, void *extra) {
    (void)comm, (void)key, (void)extra;
    return MPI_File_close((MPI_File *)value);
}

static void left_open(void) {
    static MPI_File file, of_library;
    int key;
    file = opened(RDWR);
    OK(MPI_File_open(MPI_COMM_SELF, name, RDWR, MPI_INFO_NULL, &of_library));
    OK(MPI_Comm_create_keyval(MPI_COMM_NULL_COPY_FN, closes, &key, NULL));
    OK(MPI_Comm_set_attr(MPI_COMM_SELF, key, &of_library));
    OK(MPI_File_write_at(file, 4 * rank, &rank, 1, MPI_INT, MPI_STATUS_IGNORE));
}

int main(int argc, char **argv) {
    static const struct { const char *name; void (*run)(void); } cases[] = {
        {"handles", handles}, {"handlers", handlers}, {"requests", requests}, {"failed_requests", failed_requests},
        {"freed", freed}, {"memory", memory}, {"communicators", communicators}, {"seen_at_once", seen_at_once},
        {"left_open", left_open},
    };
    int level = -1, asked = argc > 3 ? atoi(argv[3]) : 0;
    if (asked) MPI_Init_thread(&argc, &argv, MPI_THREAD_FUNNELED, &level);
    else MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &ranks);
    if (!strcmp(argv[1], "level")) {
        int current;
        MPI_Query_thread(&current);
        if (rank == 0) printf("level %s\n", current == MPI_THREAD_MULTIPLE ? "multiple" : "asked");
    }
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        if (strcmp(argv[1], "all") && strcmp(argv[1], cases[i].name)) continue;
        if (!strcmp(argv[1], "all") && cases[i].run == left_open) continue;
        snprintf(name, sizeof name, "%s-%s", argv[2], cases[i].name);
        int before = wrongs, all;
        cases[i].run();
        before = wrongs - before;
        MPI_Allreduce(&before, &all, 1, MPI_INT, MPI_SUM, MPI_COMM_WORLD);
        if (rank == 0 && all == 0) printf("ok %s\n", cases[i].name);
    }
    if (asked) EXPECT(level >= MPI_THREAD_FUNNELED);
    MPI_Finalize();
    return wrongs != 0;
}
