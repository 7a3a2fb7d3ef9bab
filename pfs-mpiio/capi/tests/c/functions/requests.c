/* Requests in every way to wait for them, statuses, threads. */
#include "observe.h"

enum { REQUESTS = 8, INTS = 4 };

static int values[REQUESTS][INTS];

static void start(MPI_File file, MPI_Request *all, int writes) {
    for (int i = 0; i < REQUESTS; i++) {
        const MPI_Offset at = (MPI_Offset)sizeof values[0] * (REQUESTS * rank + i);
        for (int k = 0; k < INTS; k++)
            values[i][k] = writes ? 100 * rank + 10 * i + k : -1;
        int code = writes ? MPI_File_iwrite_at(file, at, values[i], INTS, MPI_INT, &all[i])
                          : MPI_File_iread_at(file, at, values[i], INTS, MPI_INT, &all[i]);
        if (code != MPI_SUCCESS)
            all[i] = MPI_REQUEST_NULL;
    }
}

/* How many of the requests' values are right, which is told only after all have been waited for. */
static int right(void) {
    int count = 0;
    for (int i = 0; i < REQUESTS; i++)
        for (int k = 0; k < INTS; k++)
            count += values[i][k] == 100 * rank + 10 * i + k;
    return count;
}

static void saw_all(const char *what, int completed, const char *count) {
    saw("MPI_File_iread_at", what, "8 4 32", "%d %s %d", completed, count, right());
}

void requests(void) {
    MPI_File file = open_all("requests", MPI_MODE_CREATE | MPI_MODE_RDWR);
    MPI_Request all[REQUESTS];
    MPI_Status statuses[REQUESTS], status;
    int completed = 0, flag = 0, index, some, indices[REQUESTS];
    start(file, all, 1);
    int code = MPI_Waitall(REQUESTS, all, statuses);
    returned("MPI_File_iwrite_at", "Waitall", "SUCCESS", code);
    settle(file);

    start(file, all, 0);
    for (int i = REQUESTS - 1; i >= 0; i--)
        completed += MPI_Wait(&all[i], &status) == MPI_SUCCESS && all[i] == MPI_REQUEST_NULL;
    saw_all("Wait", completed, count_of(&status, MPI_INT));

    start(file, all, 0);
    for (completed = 0; completed < REQUESTS;) {
        flag = 0;
        if (MPI_Test(&all[completed], &flag, &status) != MPI_SUCCESS)
            break;
        completed += flag;
    }
    saw_all("Test", completed, count_of(&status, MPI_INT));

    start(file, all, 0);
    MPI_Waitall(REQUESTS, all, statuses);
    saw_all("Waitall", REQUESTS, count_of(&statuses[3], MPI_INT));

    start(file, all, 0);
    for (completed = 0; completed < REQUESTS; completed++)
        if (MPI_Waitany(REQUESTS, all, &index, &status) != MPI_SUCCESS || index == MPI_UNDEFINED)
            break;
    saw_all("Waitany", completed, count_of(&status, MPI_INT));

    start(file, all, 0);
    for (completed = 0; completed < REQUESTS;) {
        if (MPI_Testany(REQUESTS, all, &index, &flag, &status) != MPI_SUCCESS || (flag && index == MPI_UNDEFINED))
            break;
        completed += flag;
    }
    saw_all("Testany", completed, count_of(&status, MPI_INT));

    start(file, all, 0);
    for (completed = 0; completed < REQUESTS; completed += some)
        if (MPI_Waitsome(REQUESTS, all, &some, indices, statuses) != MPI_SUCCESS || some == MPI_UNDEFINED)
            break;
    saw_all("Waitsome", completed, count_of(&statuses[0], MPI_INT));

    start(file, all, 0);
    for (completed = 0; completed < REQUESTS; completed += some)
        if (MPI_Testsome(REQUESTS, all, &some, indices, statuses) != MPI_SUCCESS || some == MPI_UNDEFINED)
            break;
    saw_all("Testsome", completed, count_of(&statuses[0], MPI_INT));

    /* A file's requests among those of messages. */
    int token = rank, got = -1;
    MPI_Request mixed[3];
    MPI_Irecv(&got, 1, MPI_INT, (rank + ranks - 1) % ranks, 5, MPI_COMM_WORLD, &mixed[0]);
    MPI_Isend(&token, 1, MPI_INT, (rank + 1) % ranks, 5, MPI_COMM_WORLD, &mixed[1]);
    MPI_File_iread_at(file, (MPI_Offset)sizeof values[0] * REQUESTS * rank, values[0], INTS, MPI_INT, &mixed[2]);
    code = MPI_Waitall(3, mixed, statuses);
    saw("MPI_File_iread_at", "Waitall with messages", "SUCCESS 1 4", "%s %d %s", class_of(code),
        got == (rank + ranks - 1) % ranks, count_of(&statuses[2], MPI_INT));

    /* A request that is freed before it is complete, and one of nothing. */
    MPI_File_iwrite_at(file, (MPI_Offset)sizeof values[0] * REQUESTS * rank, values[0], INTS, MPI_INT, &all[0]);
    returned("MPI_File_iwrite_at", "Request_free", "SUCCESS", MPI_Request_free(&all[0]));
    code = MPI_File_iwrite_at(file, 0, values[1], 0, MPI_INT, &all[0]);
    MPI_Wait(&all[0], &status);
    saw("MPI_File_iwrite_at", "nothing, waited for", "SUCCESS 0", "%s %s", class_of(code), count_of(&status, MPI_INT));

    /* Collective ones of two files, waited for in another order than they were begun. */
    MPI_File other = open_all("requests-2", MPI_MODE_CREATE | MPI_MODE_RDWR);
    int mine[2] = {rank, rank + 50}, seen[2] = {-1, -1};
    MPI_File_iwrite_at_all(file, 4 * rank, &mine[0], 1, MPI_INT, &all[0]);
    MPI_File_iwrite_at_all(other, 4 * rank, &mine[1], 1, MPI_INT, &all[1]);
    MPI_File_iread_at_all(other, 4 * rank, &seen[1], 1, MPI_INT, &all[3]);
    code = MPI_Wait(&all[1], &status);
    code |= MPI_Wait(&all[0], &status);
    code |= MPI_Wait(&all[3], &status);
    saw("MPI_File_iwrite_at_all", "two files", "SUCCESS 1", "%s %s", class_of(code), count_of(&status, MPI_INT));
    MPI_File_close(&other);
    MPI_File_close(&file);
}

void requests_tested_together(void) {
    MPI_File file = open_all("requests-tested-together", MPI_MODE_CREATE | MPI_MODE_RDWR);
    MPI_Request all[REQUESTS];
    MPI_Status statuses[REQUESTS];
    start(file, all, 1);
    MPI_Waitall(REQUESTS, all, statuses);
    settle(file);
    start(file, all, 0);
    for (int flag = 0; !flag;)
        if (MPI_Testall(REQUESTS, all, &flag, statuses) != MPI_SUCCESS)
            break;
    saw_all("Testall", REQUESTS, count_of(&statuses[5], MPI_INT));
    MPI_File_close(&file);
}

void requests_looked_at(void) {
    MPI_File file = open_all("requests-looked-at", MPI_MODE_CREATE | MPI_MODE_RDWR);
    MPI_Request all[REQUESTS];
    MPI_Status statuses[REQUESTS], status;
    int completed = 0, flag = 0;
    start(file, all, 1);
    MPI_Waitall(REQUESTS, all, statuses);
    settle(file);
    start(file, all, 0);
    for (int i = 0; i < REQUESTS; i++)
        for (flag = 0; !flag;)
            if (MPI_Request_get_status(all[i], &flag, &status) != MPI_SUCCESS)
                break;
    completed = 0;
    for (int i = 0; i < REQUESTS; i++)
        completed += all[i] != MPI_REQUEST_NULL;
    MPI_Waitall(REQUESTS, all, statuses);
    saw_all("Request_get_status", completed, count_of(&statuses[7], MPI_INT));
    MPI_File_close(&file);
}

void threads(void) {
    MPI_File file = open_all("threads", MPI_MODE_CREATE | MPI_MODE_RDWR);
    MPI_Request all[3];
    MPI_Status status[3];
    int is_main = 0, mine[3] = {rank, 2 * rank, 3 * rank}, seen[3] = {-1, -1, -1}, code;
    MPI_Is_thread_main(&is_main);
    saw("MPI_File_open", "the main thread still is", "1", "%d", is_main);
    MPI_File_iwrite_at(file, 4 * rank, &mine[0], 1, MPI_INT, &all[0]);
    MPI_File_iwrite_at_all(file, 4 * (ranks + rank), &mine[1], 1, MPI_INT, &all[1]);
    code = MPI_Waitall(2, all, status);
    returned("MPI_File_iwrite_at_all", "at the level asked for", "SUCCESS", code);
    MPI_File_write_all_begin(file, &mine[2], 0, MPI_INT);
    MPI_File_write_all_end(file, &mine[2], &status[0]);
    settle(file);
    MPI_File_iread_at(file, 4 * rank, &seen[0], 1, MPI_INT, &all[0]);
    MPI_File_iread_at_all(file, 4 * (ranks + rank), &seen[1], 1, MPI_INT, &all[1]);
    for (int flag = 0; !flag;)
        if (MPI_Testall(2, all, &flag, status) != MPI_SUCCESS)
            break;
    saw("MPI_File_iread_at_all", "at the level asked for", "yes", "%s", seen[0] == rank && seen[1] == 2 * rank ? "yes" : "no");
    MPI_File_close(&file);
}

void statuses(void) {
    make_numbers("statuses", 2, 3);
    MPI_File file = open_all("statuses", MPI_MODE_RDONLY);
    struct {
        int whole;
        char part;
    } pairs[4];
    MPI_Datatype pair, packed;
    MPI_Status status;
    int elements = -1, flag = -1;
    MPI_Count large = -1;
    char bytes[16];
    MPI_Type_create_struct(2, (int[]){1, 1}, (MPI_Aint[]){0, 4}, (MPI_Datatype[]){MPI_INT, MPI_BYTE}, &packed);
    MPI_Type_create_resized(packed, 0, sizeof pairs[0], &pair);
    MPI_Type_commit(&pair);
    int code = MPI_File_read_at(file, 0, bytes, 16, MPI_BYTE, &status);
    saw("MPI_File_read_at", "count in bytes", "SUCCESS 11", "%s %s", class_of(code), count_of(&status, MPI_BYTE));
    saw("MPI_File_read_at", "count in ints", "UNDEFINED", "%s", count_of(&status, MPI_INT));
    MPI_Test_cancelled(&status, &flag);
    saw("MPI_File_read_at", "cancelled", "0", "%d", flag);
    code = MPI_File_read_at(file, 0, pairs, 2, pair, &status);
    MPI_Get_elements(&status, pair, &elements);
    saw("MPI_File_read_at", "count in pairs", "SUCCESS 2 4", "%s %s %d", class_of(code), count_of(&status, pair), elements);
    code = MPI_File_read_at(file, 2, pairs, 2, pair, &status);
    MPI_Get_elements_x(&status, pair, &large);
    saw("MPI_File_read_at", "count in pairs, one and a half", "SUCCESS UNDEFINED 3", "%s %s %lld", class_of(code),
        count_of(&status, pair), (long long)large);
    returned("MPI_File_read_at", "no status", "SUCCESS", MPI_File_read_at(file, 0, bytes, 4, MPI_BYTE, MPI_STATUS_IGNORE));
    MPI_Type_free(&pair);
    MPI_Type_free(&packed);
    MPI_File_close(&file);
}
