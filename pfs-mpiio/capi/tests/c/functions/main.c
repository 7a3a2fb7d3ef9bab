/*
 * Calls every MPI_File_* function of this MPI, and puts down what came of it.
 *
 *   functions OUT FOLDER [--from SECTION] [--only SECTION] [--skip SECTION]…
 *       [--level single|funneled|serialized|multiple] [--seconds N]
 *
 * Rank R writes to OUT.R; test files have names that begin with FOLDER. A section that ends the process, or does not end
 * within so many seconds, is the last one begun; `--from` goes on with another.
 */
#include "observe.h"
#include <signal.h>

extern FILE *observations;
extern const char *folder;

static const struct section sections[] = {
    {"opening", opening},
    {"modes", modes},
    {"communicators", communicators},
    {"sizes", sizes},
    {"hints", hints},
    {"views", views},
#if HAS_LARGE_COUNTS
    {"large counts", large_counts},
#endif
    {"wrong views", wrong_views},
    {"positions", positions},
    {"shared positions", shared_positions},
    {"wrong shared positions", wrong_shared_positions},
    {"atomicity", atomicity},
    {"handlers", handlers},
    {"handlers of no file", null_handlers},
    {"handles", handles},
    {"representations", representations},
    {"requests", requests},
    {"requests tested together", requests_tested_together},
    {"requests looked at", requests_looked_at},
    {"threads", threads},
    {"buffers", buffers},
    {"statuses", statuses},
    {"many files", many_files},
    {"left open", left_open},
};
#define SECTIONS ((int)(sizeof sections / sizeof *sections))

/* The last of the sections comes last of all; before it there are three for each way to read or write. */
static const char *section_name(int number) {
    static const char *const of_ways[] = {"%s", "end of %s", "errors of %s"};
    static char name[128];
    const int first = SECTIONS - 1;
    if (number < first)
        return sections[number].name;
    if (number >= first + 3 * ways())
        return sections[first].name;
    snprintf(name, sizeof name, of_ways[(number - first) % 3], way_name((number - first) / 3));
    return name;
}

static void run(int number) {
    static void (*const of_ways[])(int) = {way, way_end, way_wrong};
    const int first = SECTIONS - 1;
    if (number < first)
        sections[number].run();
    else if (number >= first + 3 * ways())
        sections[first].run();
    else
        of_ways[(number - first) % 3]((number - first) / 3);
}

static int level_of(const char *name) {
    static const char *const names[] = {"single", "funneled", "serialized", "multiple"};
    const int levels[] = {MPI_THREAD_SINGLE, MPI_THREAD_FUNNELED, MPI_THREAD_SERIALIZED, MPI_THREAD_MULTIPLE};
    for (int i = 0; i < 4; i++)
        if (strcmp(name, names[i]) == 0)
            return levels[i];
    fprintf(stderr, "there is no level %s\n", name);
    exit(2);
}

int main(int argc, char **argv) {
    const char *from = NULL, *only = NULL, *level = NULL, *skipped[64];
    unsigned seconds = 60;
    int skips = 0;
    if (argc < 3) {
        fprintf(stderr, "usage: functions OUT FOLDER [--from SECTION] [--only SECTION] [--skip SECTION]… [--level LEVEL] [--seconds N]\n");
        return 2;
    }
    for (int i = 3; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--from") == 0)
            from = argv[i + 1];
        else if (strcmp(argv[i], "--only") == 0)
            only = argv[i + 1];
        else if (strcmp(argv[i], "--level") == 0)
            level = argv[i + 1];
        else if (strcmp(argv[i], "--seconds") == 0)
            seconds = (unsigned)atoi(argv[i + 1]);
        else if (strcmp(argv[i], "--skip") == 0 && skips < 64)
            skipped[skips++] = argv[i + 1];
    }
    if (level) {
        int provided;
        MPI_Init_thread(&argc, &argv, level_of(level), &provided);
    } else {
        MPI_Init(&argc, &argv);
    }
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &ranks);
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    MPI_Comm_set_errhandler(MPI_COMM_SELF, MPI_ERRORS_RETURN);
    folder = argv[2];
    observations = fopen(text("%s.%d", argv[1], rank), "a");
    if (!observations) {
        perror(argv[1]);
        MPI_Abort(MPI_COMM_WORLD, 3);
    }
    int begun = from == NULL;
    for (int i = 0; i < SECTIONS + 3 * ways(); i++) {
        const char *name = section_name(i);
        begun = begun || strcmp(name, from) == 0;
        int is_left_out = !begun || (only && strcmp(name, only) != 0);
        for (int k = 0; k < skips; k++)
            is_left_out |= strcmp(name, skipped[k]) == 0;
        if (is_left_out)
            continue;
        fprintf(observations, "begin\t%s\n", name);
        fflush(observations);
        alarm(seconds);
        run(i);
        MPI_Barrier(MPI_COMM_WORLD);
        alarm(0);
    }
    alarm(seconds);
    MPI_Finalize();
    fprintf(observations, "end\n");
    fclose(observations);
    return 0;
}
