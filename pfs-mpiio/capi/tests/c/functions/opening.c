/* Opening, closing and deleting; sizes; hints; which ranks; many files at a time. */
#include "observe.h"

static int open_code(MPI_Comm comm, const char *name, int amode, MPI_File *file) {
    return MPI_File_open(comm, named(name), amode, MPI_INFO_NULL, file);
}

void opening(void) {
    const char *function = "MPI_File_open";
    MPI_File file = MPI_FILE_NULL;
    int amode = -1;
    returned(function, "nothing there", "NO_SUCH_FILE", open_code(MPI_COMM_WORLD, "opening", MPI_MODE_RDWR, &file));
    returned("MPI_File_delete", "nothing there", "NO_SUCH_FILE", MPI_File_delete(named("opening"), MPI_INFO_NULL));
    MPI_Barrier(MPI_COMM_WORLD);
    returned(function, "created", "SUCCESS", open_code(MPI_COMM_WORLD, "opening", MPI_MODE_CREATE | MPI_MODE_RDWR, &file));
    returned("MPI_File_get_amode", "created", "SUCCESS", MPI_File_get_amode(file, &amode));
    saw("MPI_File_get_amode", "the same", "yes", "%s", amode == (MPI_MODE_CREATE | MPI_MODE_RDWR) ? "yes" : "no");
    returned("MPI_File_close", "created", "SUCCESS", MPI_File_close(&file));
    saw("MPI_File_close", "handle", "MPI_FILE_NULL", "%s", file == MPI_FILE_NULL ? "MPI_FILE_NULL" : "another");
    int code = open_code(MPI_COMM_WORLD, "opening", MPI_MODE_CREATE | MPI_MODE_EXCL | MPI_MODE_RDWR, &file);
    returned(function, "exclusive, there already", "FILE_EXISTS", code);
    MPI_Barrier(MPI_COMM_WORLD);
    returned(function, "existing", "SUCCESS", open_code(MPI_COMM_WORLD, "opening", MPI_MODE_RDONLY, &file));
    MPI_File_close(&file);
    if (rank == 0)
        returned("MPI_File_delete", "existing", "SUCCESS", MPI_File_delete(named("opening"), MPI_INFO_NULL));
    MPI_Barrier(MPI_COMM_WORLD);
    code = open_code(MPI_COMM_WORLD, "opening", MPI_MODE_RDONLY, &file);
    returned(function, "deleted", "NO_SUCH_FILE", code);
    code = open_code(MPI_COMM_WORLD, "no-folder/opening", MPI_MODE_CREATE | MPI_MODE_RDWR, &file);
    returned(function, "no folder", "NO_SUCH_FILE|BAD_FILE", code);
    file = MPI_FILE_NULL;
    returned("MPI_File_close", "of no file", "FILE", MPI_File_close(&file));
    returned("MPI_File_get_amode", "of no file", "FILE", MPI_File_get_amode(file, &amode));
}

void modes(void) {
    static const struct {
        const char *what;
        int amode;
    } wrong[] = {
        {"no way of access", MPI_MODE_CREATE},
        {"two ways of access", MPI_MODE_RDONLY | MPI_MODE_WRONLY},
        {"created to be read", MPI_MODE_RDONLY | MPI_MODE_CREATE},
        {"exclusive and read", MPI_MODE_RDONLY | MPI_MODE_EXCL},
        {"read, written, in sequence", MPI_MODE_RDWR | MPI_MODE_SEQUENTIAL},
    };
    MPI_File file;
    MPI_Offset offset = -1;
    MPI_Status status;
    char byte = 'x';
    make_numbers("modes", 4, 0);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        int code = open_code(MPI_COMM_WORLD, "modes", wrong[i].amode, &file);
        returned("MPI_File_open", wrong[i].what, "AMODE", code);
        if (code == MPI_SUCCESS)
            MPI_File_close(&file);
    }
    file = open_all("modes", MPI_MODE_WRONLY | MPI_MODE_APPEND);
    MPI_File_get_position(file, &offset);
    saw("MPI_File_open", "append: position", "16", "%lld", (long long)offset);
    offset = -1;
    MPI_File_get_position_shared(file, &offset);
    saw("MPI_File_open", "append: shared position", "16", "%lld", (long long)offset);
    MPI_File_close(&file);

    file = open_all("modes", MPI_MODE_WRONLY | MPI_MODE_SEQUENTIAL);
    returned("MPI_File_open", "in sequence", "SUCCESS", MPI_File_write_ordered(file, &byte, 1, MPI_BYTE, &status));
    returned("MPI_File_seek", "of a sequence", "UNSUPPORTED_OPERATION", MPI_File_seek(file, 0, MPI_SEEK_SET));
    returned("MPI_File_get_position", "of a sequence", "UNSUPPORTED_OPERATION", MPI_File_get_position(file, &offset));
    MPI_File_close(&file);

    file = open_all("modes", MPI_MODE_RDWR | MPI_MODE_DELETE_ON_CLOSE | MPI_MODE_UNIQUE_OPEN);
    MPI_File_close(&file);
    MPI_Barrier(MPI_COMM_WORLD);
    int code = open_code(MPI_COMM_WORLD, "modes", MPI_MODE_RDONLY, &file);
    returned("MPI_File_close", "deleted by it", "NO_SUCH_FILE", code);
}

void communicators(void) {
    MPI_Comm copy, half, between, merged;
    MPI_Group own, files;
    MPI_File file, other;
    MPI_Status status;
    int same = MPI_UNEQUAL, value = rank;
    /* The communicator is gone right after the open. */
    MPI_Comm_dup(MPI_COMM_WORLD, &copy);
    MPI_File_open(copy, named("communicators"), MPI_MODE_CREATE | MPI_MODE_RDWR, MPI_INFO_NULL, &file);
    MPI_Comm_free(&copy);
    int code = MPI_File_write_at_all(file, 4 * rank, &value, 1, MPI_INT, &status);
    returned("MPI_File_open", "communicator freed", "SUCCESS", code);
    returned("MPI_File_get_group", "of all", "SUCCESS", MPI_File_get_group(file, &files));
    MPI_Comm_group(MPI_COMM_WORLD, &own);
    MPI_Group_compare(own, files, &same);
    saw("MPI_File_get_group", "the same ranks", "yes", "%s", same == MPI_IDENT ? "yes" : "no");
    MPI_Group_free(&files);
    MPI_Group_free(&own);
    returned("MPI_File_get_group", "of no file", "FILE", MPI_File_get_group(MPI_FILE_NULL, &files));
    MPI_File_close(&file);

    /* Each rank alone, all at once. */
    code = MPI_File_open(MPI_COMM_SELF, named("communicators"), MPI_MODE_RDONLY, MPI_INFO_NULL, &other);
    returned("MPI_File_open", "of each rank alone", "SUCCESS", code);
    code = MPI_File_read_at_all(other, 4 * ((rank + 1) % ranks), &value, 1, MPI_INT, &status);
    saw("MPI_File_open", "of each rank alone: value", "SUCCESS 1", "%s %d", class_of(code), value == (rank + 1) % ranks);
    MPI_File_close(&other);
    if (ranks < 2)
        return;

    /* Out of an intercommunicator, in another order of ranks. */
    MPI_Comm_split(MPI_COMM_WORLD, rank % 2, rank, &half);
    MPI_Intercomm_create(half, 0, MPI_COMM_WORLD, 1 - rank % 2, 7, &between);
    returned("MPI_File_open", "of an intercommunicator", "COMM|ARG",
             MPI_File_open(between, named("communicators"), MPI_MODE_RDONLY, MPI_INFO_NULL, &other));
    MPI_Intercomm_merge(between, rank % 2 == 0, &merged);
    code = MPI_File_open(merged, named("merged"), MPI_MODE_CREATE | MPI_MODE_RDWR, MPI_INFO_NULL, &file);
    MPI_Comm_free(&between);
    MPI_Comm_free(&half);
    returned("MPI_File_open", "merged", "SUCCESS", code);
    int place = -1, seen = -1;
    MPI_Comm_rank(merged, &place);
    MPI_Comm_free(&merged);
    MPI_File_write_ordered(file, &place, 1, MPI_INT, &status);
    settle(file);
    code = MPI_File_read_at(file, 4 * place, &seen, 1, MPI_INT, &status);
    saw("MPI_File_write_ordered", "order of the merged ranks", "SUCCESS 1", "%s %d", class_of(code), seen == place);
    MPI_File_close(&file);
}

void sizes(void) {
    MPI_File file = open_all("sizes", MPI_MODE_CREATE | MPI_MODE_RDWR);
    MPI_Offset size = -1;
    MPI_Status status;
    char bytes[8];
    returned("MPI_File_set_size", "larger", "SUCCESS", MPI_File_set_size(file, 1000));
    returned("MPI_File_get_size", "larger", "SUCCESS", MPI_File_get_size(file, &size));
    saw("MPI_File_get_size", "larger: bytes", "1000", "%lld", (long long)size);
    memset(bytes, 7, sizeof bytes);
    int code = MPI_File_read_at(file, 996, bytes, 8, MPI_BYTE, &status);
    saw("MPI_File_set_size", "read at the end", "SUCCESS 4 0", "%s %s %d", class_of(code), count_of(&status, MPI_BYTE), bytes[0]);
    returned("MPI_File_set_size", "smaller", "SUCCESS", MPI_File_set_size(file, 10));
    MPI_File_get_size(file, &size);
    saw("MPI_File_get_size", "smaller: bytes", "10", "%lld", (long long)size);
    returned("MPI_File_preallocate", "larger", "SUCCESS", MPI_File_preallocate(file, 4096));
    MPI_File_get_size(file, &size);
    saw("MPI_File_preallocate", "larger: bytes", "4096", "%lld", (long long)size);
    returned("MPI_File_preallocate", "smaller", "SUCCESS", MPI_File_preallocate(file, 100));
    MPI_File_get_size(file, &size);
    saw("MPI_File_preallocate", "smaller: bytes", "4096", "%lld", (long long)size);
    returned("MPI_File_set_size", "of -1", "ARG", MPI_File_set_size(file, -1));
    returned("MPI_File_preallocate", "of -1", "ARG", MPI_File_preallocate(file, -1));
    returned("MPI_File_sync", "twice", "SUCCESS", MPI_File_sync(file));
    returned("MPI_File_sync", "twice again", "SUCCESS", MPI_File_sync(file));
    MPI_File_close(&file);
    file = open_all("sizes", MPI_MODE_RDONLY);
    returned("MPI_File_set_size", "of a file that is read", "READ_ONLY|ACCESS", MPI_File_set_size(file, 5));
    returned("MPI_File_preallocate", "of a file that is read", "READ_ONLY|ACCESS", MPI_File_preallocate(file, 5));
    MPI_File_close(&file);
    returned("MPI_File_get_size", "of no file", "FILE", MPI_File_get_size(MPI_FILE_NULL, &size));
    returned("MPI_File_set_size", "of no file", "FILE", MPI_File_set_size(MPI_FILE_NULL, 1));
    returned("MPI_File_preallocate", "of no file", "FILE", MPI_File_preallocate(MPI_FILE_NULL, 1));
    returned("MPI_File_sync", "of no file", "FILE", MPI_File_sync(MPI_FILE_NULL));
}

void hints(void) {
    MPI_Info info, seen = MPI_INFO_NULL;
    MPI_File file;
    char value[64] = "";
    int flag = 0;
    MPI_Info_create(&info);
    MPI_Info_set(info, "cb_buffer_size", "262144");
    MPI_Info_set(info, "no_such_hint_at_all", "x");
    int code = MPI_File_open(MPI_COMM_WORLD, named("hints"), MPI_MODE_CREATE | MPI_MODE_RDWR, info, &file);
    returned("MPI_File_open", "with hints", "SUCCESS", code);
    MPI_Info_free(&info);
    returned("MPI_File_get_info", "of the open", "SUCCESS", MPI_File_get_info(file, &seen));
    MPI_Info_get(seen, "cb_buffer_size", 63, value, &flag);
    saw("MPI_File_get_info", "value", "1 262144", "%d %s", flag, value);
    MPI_Info_free(&seen);
    MPI_Info_create(&info);
    MPI_Info_set(info, "access_style", "write_once");
    returned("MPI_File_set_info", "another", "SUCCESS", MPI_File_set_info(file, info));
    returned("MPI_File_set_info", "none", "SUCCESS|INFO", MPI_File_set_info(file, MPI_INFO_NULL));
    MPI_Info_free(&info);
    returned("MPI_File_get_info", "again", "SUCCESS", MPI_File_get_info(file, &seen));
    MPI_Info_free(&seen);
    MPI_File_close(&file);
    returned("MPI_File_get_info", "of no file", "FILE", MPI_File_get_info(MPI_FILE_NULL, &seen));
    returned("MPI_File_set_info", "of no file", "FILE", MPI_File_set_info(MPI_FILE_NULL, MPI_INFO_NULL));
}

void many_files(void) {
    enum { FILES = 40 };
    MPI_File files[FILES];
    MPI_Status status;
    int code = MPI_SUCCESS, right = 0;
    for (int i = 0; i < FILES; i++)
        files[i] = open_all(text("many-%d", i), MPI_MODE_CREATE | MPI_MODE_RDWR);
    for (int i = 0; i < FILES && code == MPI_SUCCESS; i++) {
        int value = 1000 * i + rank;
        code = i % 2 ? MPI_File_write_at(files[i], 4 * rank, &value, 1, MPI_INT, &status)
                     : MPI_File_write_at_all(files[i], 4 * rank, &value, 1, MPI_INT, &status);
    }
    returned("MPI_File_open", "many", "SUCCESS", code);
    MPI_Barrier(MPI_COMM_WORLD);
    for (int i = FILES - 1; i >= 0; i--) {
        int value = -1;
        MPI_File_read_at(files[i], 4 * rank, &value, 1, MPI_INT, &status);
        right += value == 1000 * i + rank;
    }
    saw("MPI_File_open", "many: values", "40", "%d", right);
    for (int i = 0; i < FILES; i += 2)
        code |= MPI_File_close(&files[i]);
    for (int i = 1; i < FILES; i += 2)
        code |= MPI_File_close(&files[i]);
    returned("MPI_File_close", "many", "SUCCESS", code);
}

void left_open(void) {
    MPI_File file = open_all("left-open", MPI_MODE_CREATE | MPI_MODE_RDWR);
    int value = rank + 1;
    returned("MPI_File_open", "left open", "SUCCESS", MPI_File_write_at(file, 4 * rank, &value, 1, MPI_INT, MPI_STATUS_IGNORE));
}
