/*
 * What the sections of this program share: how something that was seen is put down, and small tools.
 *
 * An observation is one line: FUNCTION <tab> WHAT <tab> SEEN <tab> WANTED. WANTED is what MPI-4.1 says; alternatives that it
 * leaves open are separated by `|`, and `-` is for what it says nothing about: then only two implementations can be compared.
 */
#ifndef OBSERVE_H
#define OBSERVE_H

#include <mpi.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#if MPI_VERSION >= 4
#define HAS_LARGE_COUNTS 1
#else
#define HAS_LARGE_COUNTS 0
#endif

/* This rank, and how many there are. */
extern int rank, ranks;

/* Puts an observation down. */
void saw(const char *function, const char *what, const char *wanted, const char *seen, ...)
    __attribute__((format(printf, 4, 5)));

/* The same for a return code alone. */
void returned(const char *function, const char *what, const char *wanted, int code);

/* `SUCCESS`, `ACCESS` and so on: the class of a return code, without `MPI_ERR_`. */
const char *class_of(int code);

/* The name of a test file; the result is good until the fourth call after it. */
const char *named(const char *name);

/* Formats into one of a few buffers that take turns. */
const char *text(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Opens a test file on all ranks, or ends the program. */
MPI_File open_all(const char *name, int amode);

/* Makes a file of `ints` numbers, the one at I being 7 * I, and `bytes` more bytes of 0xAA. */
void make_numbers(const char *name, int ints, int bytes);

/* Makes written bytes visible to all ranks. */
void settle(MPI_File file);

/* `as written` if the file has these bytes and no others, or the first difference; the view is the default one then. */
const char *compared(MPI_File file, const void *wanted, MPI_Offset bytes);

/* What a status says of the number of values: a number or UNDEFINED. */
const char *count_of(MPI_Status *status, MPI_Datatype type);

/* A part of the program. Each has its own files, so that one that fails keeps no other from running. */
struct section {
    const char *name;
    void (*run)(void);
};

void opening(void);
void modes(void);
void communicators(void);
void sizes(void);
void hints(void);
void views(void);
void large_counts(void);
void wrong_views(void);
void positions(void);
void shared_positions(void);
void wrong_shared_positions(void);
void atomicity(void);
void handlers(void);
void null_handlers(void);
void handles(void);
void representations(void);
void requests(void);
void requests_tested_together(void);
void requests_looked_at(void);
void threads(void);
void buffers(void);
void statuses(void);
void many_files(void);
void left_open(void);

/* Every way to read or write has a section for what it does, one for the end of a file, and one for its errors. */
int ways(void);
void way(int number);
void way_end(int number);
void way_wrong(int number);
const char *way_name(int number);

#endif
