/* Error handlers, and what a handle is to C and Fortran. */
#include "observe.h"

static int called, last_class;
static MPI_File last_file;

static void handler(MPI_File *file, int *code, ...) {
    called++;
    last_file = *file;
    MPI_Error_class(*code, &last_class);
}

void handlers(void) {
    MPI_File file = open_all("handlers", MPI_MODE_CREATE | MPI_MODE_RDWR);
    MPI_Errhandler seen = MPI_ERRHANDLER_NULL, own;
    MPI_Status status;
    char byte = 0;
    returned("MPI_File_get_errhandler", "at first", "SUCCESS", MPI_File_get_errhandler(file, &seen));
    saw("MPI_File_get_errhandler", "at first: value", "MPI_ERRORS_RETURN", "%s",
        seen == MPI_ERRORS_RETURN ? "MPI_ERRORS_RETURN" : "another");
    returned("MPI_File_create_errhandler", "one", "SUCCESS", MPI_File_create_errhandler(handler, &own));
    returned("MPI_File_set_errhandler", "one", "SUCCESS", MPI_File_set_errhandler(file, own));
    called = 0;
    int code = MPI_File_read_at(file, -1, &byte, 1, MPI_BYTE, &status);
    saw("MPI_File_set_errhandler", "called by an error", "ARG 1 ARG 1", "%s %d %s %d", class_of(code), called,
        called ? class_of(last_class) : "no", called && last_file == file);
    called = 0;
    returned("MPI_File_call_errhandler", "by hand", "SUCCESS", MPI_File_call_errhandler(file, MPI_ERR_IO));
    saw("MPI_File_call_errhandler", "by hand: called", "1 IO", "%d %s", called, called ? class_of(last_class) : "no");
    code = MPI_File_get_errhandler(file, &seen);
    saw("MPI_File_get_errhandler", "of one's own", "SUCCESS 1", "%s %d", class_of(code), seen == own);
    MPI_Errhandler_free(&seen);
    /* The file keeps it. */
    MPI_Errhandler_free(&own);
    called = 0;
    MPI_File_set_size(file, -1);
    saw("MPI_File_set_errhandler", "freed by the program", "1", "%d", called);
    returned("MPI_File_set_errhandler", "return", "SUCCESS", MPI_File_set_errhandler(file, MPI_ERRORS_RETURN));
    called = 0;
    MPI_File_set_size(file, -1);
    saw("MPI_File_set_errhandler", "return: called", "0", "%d", called);
    MPI_File_close(&file);
}

void null_handlers(void) {
    MPI_Errhandler own, before;
    MPI_File file;
    MPI_File_get_errhandler(MPI_FILE_NULL, &before);
    saw("MPI_File_get_errhandler", "of no file", "MPI_ERRORS_RETURN", "%s",
        before == MPI_ERRORS_RETURN ? "MPI_ERRORS_RETURN" : "another");
    MPI_File_create_errhandler(handler, &own);
    returned("MPI_File_set_errhandler", "of no file", "SUCCESS", MPI_File_set_errhandler(MPI_FILE_NULL, own));
    called = 0;
    int code = MPI_File_open(MPI_COMM_WORLD, named("none-of-this-name"), MPI_MODE_RDONLY, MPI_INFO_NULL, &file);
    saw("MPI_File_open", "handler of no file", "NO_SUCH_FILE 1 NO_SUCH_FILE", "%s %d %s", class_of(code), called,
        called ? class_of(last_class) : "no");
    called = 0;
    code = MPI_File_delete(named("none-of-this-name"), MPI_INFO_NULL);
    saw("MPI_File_delete", "handler of no file", "NO_SUCH_FILE 1", "%s %d", class_of(code), called);
    /* New files begin with it. */
    file = open_all("null-handlers", MPI_MODE_CREATE | MPI_MODE_RDWR);
    called = 0;
    MPI_File_set_size(file, -1);
    saw("MPI_File_open", "takes the handler over", "1", "%d", called);
    MPI_File_close(&file);
    /* Not freed: MPICH 4.0.2 counts its users wrongly, and ends the program. */
    MPI_File_set_errhandler(MPI_FILE_NULL, MPI_ERRORS_RETURN);
}

void handles(void) {
    MPI_File file = open_all("handles", MPI_MODE_CREATE | MPI_MODE_RDWR), other = open_all("handles-2", MPI_MODE_CREATE | MPI_MODE_RDWR);
    MPI_Fint number = MPI_File_c2f(file), second = MPI_File_c2f(other);
    saw("MPI_File_c2f", "different for each", "yes", "%s", number != second ? "yes" : "no");
    saw("MPI_File_f2c", "back again", "yes", "%s", MPI_File_f2c(number) == file && MPI_File_f2c(second) == other ? "yes" : "no");
    saw("MPI_File_f2c", "no file", "yes", "%s", MPI_File_f2c(MPI_File_c2f(MPI_FILE_NULL)) == MPI_FILE_NULL ? "yes" : "no");
    MPI_Offset size = -1;
    returned("MPI_File_f2c", "used", "SUCCESS", MPI_File_get_size(MPI_File_f2c(number), &size));
    MPI_File_close(&other);
    MPI_File_close(&file);
}
