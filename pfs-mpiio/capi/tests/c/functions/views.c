/* Views, positions, atomic mode, data representations. */
#include "observe.h"

void views(void) {
    const char *function = "MPI_File_set_view";
    MPI_File file = open_all("views", MPI_MODE_CREATE | MPI_MODE_RDWR);
    MPI_Datatype etype, filetype, vector;
    MPI_Offset displacement = -1, offset = -1;
    MPI_Aint extent = -1;
    char datarep[MPI_MAX_DATAREP_STRING] = "";
    int code = MPI_File_get_view(file, &displacement, &etype, &filetype, datarep);
    saw("MPI_File_get_view", "at first", "SUCCESS 0 1 1 native", "%s %lld %d %d %s", class_of(code),
        (long long)displacement, etype == MPI_BYTE, filetype == MPI_BYTE, datarep);
    MPI_File_seek(file, 3, MPI_SEEK_SET);
    MPI_Type_vector(2, 1, 3, MPI_INT, &vector);
    MPI_Type_commit(&vector);
    returned(function, "a vector", "SUCCESS", MPI_File_set_view(file, 100, MPI_INT, vector, "native", MPI_INFO_NULL));
    MPI_Type_free(&vector);
    MPI_File_get_position(file, &offset);
    saw(function, "position", "0", "%lld", (long long)offset);
    code = MPI_File_get_view(file, &displacement, &etype, &filetype, datarep);
    int size = -1, integers, addresses, types, combiner = -1;
    MPI_Aint lower = -1, spread = -1;
    MPI_Type_size(filetype, &size);
    MPI_Type_get_extent(filetype, &lower, &spread);
    MPI_Type_get_envelope(filetype, &integers, &addresses, &types, &combiner);
    saw("MPI_File_get_view", "a vector", "SUCCESS 100 1 8 16 native", "%s %lld %d %d %lld %s", class_of(code),
        (long long)displacement, etype == MPI_INT, size, (long long)spread, datarep);
    if (combiner != MPI_COMBINER_NAMED)
        MPI_Type_free(&filetype);
    /* Value 3 of the view: the second of the second vector, whose type extent is 16 bytes. */
    code = MPI_File_get_byte_offset(file, 3, &offset);
    saw("MPI_File_get_byte_offset", "of value 3", "SUCCESS 128", "%s %lld", class_of(code), (long long)offset);
    returned("MPI_File_get_byte_offset", "of value -1", "ARG", MPI_File_get_byte_offset(file, -1, &offset));
    code = MPI_File_get_type_extent(file, MPI_DOUBLE, &extent);
    saw("MPI_File_get_type_extent", "native double", "SUCCESS 8", "%s %lld", class_of(code), (long long)extent);
#if HAS_LARGE_COUNTS
    MPI_Count large = -1;
    code = MPI_File_get_type_extent_c(file, MPI_DOUBLE, &large);
    saw("MPI_File_get_type_extent_c", "native double", "SUCCESS 8", "%s %lld", class_of(code), (long long)large);
    returned("MPI_File_get_type_extent_c", "no datatype", "TYPE", MPI_File_get_type_extent_c(file, MPI_DATATYPE_NULL, &large));
#endif
    returned("MPI_File_get_type_extent", "no datatype", "TYPE", MPI_File_get_type_extent(file, MPI_DATATYPE_NULL, &extent));
    returned("MPI_File_get_type_extent", "of no file", "FILE", MPI_File_get_type_extent(MPI_FILE_NULL, MPI_INT, &extent));
    MPI_File_set_size(file, 4096);
    returned(function, "etype of 8 bytes", "SUCCESS",
             MPI_File_set_view(file, 8, MPI_DOUBLE, MPI_DOUBLE, "native", MPI_INFO_NULL));
    MPI_File_seek(file, 0, MPI_SEEK_END);
    MPI_File_get_position(file, &offset);
    saw("MPI_File_seek", "to the end, in values", "511", "%lld", (long long)offset);
    MPI_File_close(&file);
    returned(function, "of no file", "FILE", MPI_File_set_view(MPI_FILE_NULL, 0, MPI_BYTE, MPI_BYTE, "native", MPI_INFO_NULL));
    returned("MPI_File_get_view", "of no file", "FILE", MPI_File_get_view(MPI_FILE_NULL, &displacement, &etype, &filetype, datarep));
}

#if HAS_LARGE_COUNTS
/* Where the first values of a view with this filetype lie; the type is freed. */
static void places_of(MPI_File file, MPI_Datatype type, MPI_Offset places[12]) {
    MPI_Type_commit(&type);
    for (int i = 0; i < 12; i++)
        places[i] = -1;
    if (MPI_File_set_view(file, 0, MPI_INT, type, "native", MPI_INFO_NULL) == MPI_SUCCESS)
        for (int i = 0; i < 12; i++)
            MPI_File_get_byte_offset(file, i, &places[i]);
    MPI_Type_free(&type);
}

static void same_places(MPI_File file, const char *how, MPI_Datatype small, MPI_Datatype large) {
    MPI_Offset by_small[12], by_large[12];
    places_of(file, small, by_small);
    places_of(file, large, by_large);
    saw("MPI_File_set_view", how, "1", "%d", by_small[11] > 0 && memcmp(by_small, by_large, sizeof by_small) == 0);
}

/* Types that are made with large counts are views like their twins. */
void large_counts(void) {
    MPI_File file = open_all("large-counts", MPI_MODE_CREATE | MPI_MODE_RDWR);
    const int lengths[3] = {2, 1, 3}, places[3] = {1, 4, 9}, sizes[2] = {6, 8}, parts[2] = {3, 4}, starts[2] = {2, 3};
    const MPI_Count large_lengths[3] = {2, 1, 3}, large_places[3] = {1, 4, 9}, large_bytes[3] = {4, 20, 44};
    const MPI_Count large_sizes[2] = {6, 8}, large_parts[2] = {3, 4}, large_starts[2] = {2, 3};
    const MPI_Aint bytes[3] = {4, 20, 44};
    const int deals[2] = {MPI_DISTRIBUTE_CYCLIC, MPI_DISTRIBUTE_BLOCK}, grid[2] = {2, 1};
    const int arguments[2] = {2, MPI_DISTRIBUTE_DFLT_DARG};
    const MPI_Datatype ints[3] = {MPI_INT, MPI_INT, MPI_INT};
    MPI_Datatype small, large;
    MPI_Type_contiguous(5, MPI_INT, &small);
    MPI_Type_contiguous_c(5, MPI_INT, &large);
    same_places(file, "contiguous, large counts", small, large);
    MPI_Type_vector(3, 2, 5, MPI_INT, &small);
    MPI_Type_vector_c(3, 2, 5, MPI_INT, &large);
    same_places(file, "vector, large counts", small, large);
    MPI_Type_create_hvector(3, 2, 20, MPI_INT, &small);
    MPI_Type_create_hvector_c(3, 2, 20, MPI_INT, &large);
    same_places(file, "hvector, large counts", small, large);
    MPI_Type_indexed(3, lengths, places, MPI_INT, &small);
    MPI_Type_indexed_c(3, large_lengths, large_places, MPI_INT, &large);
    same_places(file, "indexed, large counts", small, large);
    MPI_Type_create_hindexed(3, lengths, bytes, MPI_INT, &small);
    MPI_Type_create_hindexed_c(3, large_lengths, large_bytes, MPI_INT, &large);
    same_places(file, "hindexed, large counts", small, large);
    MPI_Type_create_indexed_block(3, 2, places, MPI_INT, &small);
    MPI_Type_create_indexed_block_c(3, 2, large_places, MPI_INT, &large);
    same_places(file, "indexed_block, large counts", small, large);
    MPI_Type_create_hindexed_block(3, 2, bytes, MPI_INT, &small);
    MPI_Type_create_hindexed_block_c(3, 2, large_bytes, MPI_INT, &large);
    same_places(file, "hindexed_block, large counts", small, large);
    MPI_Type_create_struct(3, lengths, bytes, ints, &small);
    MPI_Type_create_struct_c(3, large_lengths, large_bytes, ints, &large);
    same_places(file, "struct, large counts", small, large);
    MPI_Type_create_subarray(2, sizes, parts, starts, MPI_ORDER_FORTRAN, MPI_INT, &small);
    MPI_Type_create_subarray_c(2, large_sizes, large_parts, large_starts, MPI_ORDER_FORTRAN, MPI_INT, &large);
    same_places(file, "subarray, large counts", small, large);
    MPI_Type_create_darray(2, 1, 2, sizes, deals, arguments, grid, MPI_ORDER_C, MPI_INT, &small);
    MPI_Type_create_darray_c(2, 1, 2, large_sizes, deals, arguments, grid, MPI_ORDER_C, MPI_INT, &large);
    same_places(file, "darray, large counts", small, large);
    MPI_Type_create_resized(MPI_INT, 0, 12, &small);
    MPI_Type_create_resized_c(MPI_INT, 0, 12, &large);
    same_places(file, "resized, large counts", small, large);
    MPI_File_close(&file);
}
#endif

void wrong_views(void) {
    const char *function = "MPI_File_set_view";
    MPI_File file = open_all("wrong-views", MPI_MODE_CREATE | MPI_MODE_RDWR);
    MPI_Datatype type;
    returned(function, "displacement of -1", "ARG", MPI_File_set_view(file, -1, MPI_BYTE, MPI_BYTE, "native", MPI_INFO_NULL));
    returned(function, "no etype", "TYPE|ARG", MPI_File_set_view(file, 0, MPI_DATATYPE_NULL, MPI_BYTE, "native", MPI_INFO_NULL));
    returned(function, "no filetype", "TYPE|ARG", MPI_File_set_view(file, 0, MPI_BYTE, MPI_DATATYPE_NULL, "native", MPI_INFO_NULL));
    returned(function, "unknown representation", "UNSUPPORTED_DATAREP",
             MPI_File_set_view(file, 0, MPI_BYTE, MPI_BYTE, "no such one", MPI_INFO_NULL));
    returned(function, "no multiple of the etype", "ARG|TYPE|IO", MPI_File_set_view(file, 0, MPI_INT, MPI_BYTE, "native", MPI_INFO_NULL));
    MPI_Type_create_hindexed_block(2, 1, (MPI_Aint[]){8, 0}, MPI_INT, &type);
    MPI_Type_commit(&type);
    returned(function, "backwards", "ARG|TYPE|IO", MPI_File_set_view(file, 0, MPI_INT, type, "native", MPI_INFO_NULL));
    MPI_Type_free(&type);
    MPI_Type_create_hindexed_block(2, 1, (MPI_Aint[]){-4, 0}, MPI_INT, &type);
    MPI_Type_commit(&type);
    returned(function, "before the beginning", "ARG|TYPE|IO", MPI_File_set_view(file, 0, MPI_INT, type, "native", MPI_INFO_NULL));
    MPI_Type_free(&type);
    MPI_Type_contiguous(2, MPI_INT, &type);
    returned(function, "not committed", "TYPE|ARG", MPI_File_set_view(file, 0, MPI_INT, type, "native", MPI_INFO_NULL));
    returned(function, "etype not committed", "TYPE|ARG", MPI_File_set_view(file, 0, type, type, "native", MPI_INFO_NULL));
    MPI_Type_commit(&type);
    returned(function, "committed by now", "SUCCESS", MPI_File_set_view(file, 0, type, type, "native", MPI_INFO_NULL));
    MPI_Type_free(&type);
    MPI_File_close(&file);
}

void positions(void) {
    make_numbers("positions", 10, 0);
    MPI_File file = open_all("positions", MPI_MODE_RDONLY);
    MPI_Offset offset = -1;
    MPI_File_set_view(file, 4, MPI_INT, MPI_INT, "native", MPI_INFO_NULL);
    returned("MPI_File_seek", "set", "SUCCESS", MPI_File_seek(file, 5, MPI_SEEK_SET));
    returned("MPI_File_seek", "from here", "SUCCESS", MPI_File_seek(file, -2, MPI_SEEK_CUR));
    returned("MPI_File_get_position", "from here", "SUCCESS", MPI_File_get_position(file, &offset));
    saw("MPI_File_get_position", "from here: value", "3", "%lld", (long long)offset);
    returned("MPI_File_seek", "from the end", "SUCCESS", MPI_File_seek(file, -1, MPI_SEEK_END));
    MPI_File_get_position(file, &offset);
    saw("MPI_File_seek", "from the end: value", "8", "%lld", (long long)offset);
    returned("MPI_File_seek", "before the beginning", "ARG", MPI_File_seek(file, -20, MPI_SEEK_CUR));
    MPI_File_get_position(file, &offset);
    saw("MPI_File_seek", "before the beginning: value", "8", "%lld", (long long)offset);
    returned("MPI_File_seek", "behind the end", "SUCCESS", MPI_File_seek(file, 100, MPI_SEEK_END));
    returned("MPI_File_seek", "no such way", "ARG", MPI_File_seek(file, 0, 12345));
    MPI_File_close(&file);
    returned("MPI_File_seek", "of no file", "FILE", MPI_File_seek(MPI_FILE_NULL, 0, MPI_SEEK_SET));
    returned("MPI_File_get_position", "of no file", "FILE", MPI_File_get_position(MPI_FILE_NULL, &offset));
    returned("MPI_File_get_byte_offset", "of no file", "FILE", MPI_File_get_byte_offset(MPI_FILE_NULL, 0, &offset));
}

void shared_positions(void) {
    make_numbers("shared-positions", 10, 0);
    MPI_File file = open_all("shared-positions", MPI_MODE_RDWR);
    MPI_Offset offset = -1;
    MPI_File_set_view(file, 0, MPI_INT, MPI_INT, "native", MPI_INFO_NULL);
    returned("MPI_File_seek_shared", "set", "SUCCESS", MPI_File_seek_shared(file, 4, MPI_SEEK_SET));
    returned("MPI_File_seek_shared", "from here", "SUCCESS", MPI_File_seek_shared(file, 2, MPI_SEEK_CUR));
    returned("MPI_File_get_position_shared", "from here", "SUCCESS", MPI_File_get_position_shared(file, &offset));
    saw("MPI_File_get_position_shared", "from here: value", "6", "%lld", (long long)offset);
    MPI_Barrier(MPI_COMM_WORLD);
    returned("MPI_File_seek_shared", "from the end", "SUCCESS", MPI_File_seek_shared(file, -3, MPI_SEEK_END));
    MPI_File_get_position_shared(file, &offset);
    saw("MPI_File_seek_shared", "from the end: value", "7", "%lld", (long long)offset);
    MPI_Barrier(MPI_COMM_WORLD);
    MPI_File_close(&file);
    returned("MPI_File_seek_shared", "of no file", "FILE", MPI_File_seek_shared(MPI_FILE_NULL, 0, MPI_SEEK_SET));
    returned("MPI_File_get_position_shared", "of no file", "FILE", MPI_File_get_position_shared(MPI_FILE_NULL, &offset));
}

void wrong_shared_positions(void) {
    make_numbers("wrong-shared-positions", 10, 0);
    MPI_File file = open_all("wrong-shared-positions", MPI_MODE_RDWR);
    MPI_Offset offset = -1;
    returned("MPI_File_seek_shared", "before the beginning", "ARG", MPI_File_seek_shared(file, -1, MPI_SEEK_SET));
    MPI_File_get_position_shared(file, &offset);
    saw("MPI_File_seek_shared", "before the beginning: value", "0", "%lld", (long long)offset);
    MPI_Barrier(MPI_COMM_WORLD);
    returned("MPI_File_seek_shared", "no such way", "ARG", MPI_File_seek_shared(file, 0, 12345));
    MPI_File_close(&file);
}

void atomicity(void) {
    MPI_File file = open_all("atomicity", MPI_MODE_CREATE | MPI_MODE_RDWR);
    MPI_Status status;
    int is_atomic = -1, value = 0;
    returned("MPI_File_get_atomicity", "at first", "SUCCESS", MPI_File_get_atomicity(file, &is_atomic));
    saw("MPI_File_get_atomicity", "at first: value", "0", "%d", is_atomic);
    returned("MPI_File_set_atomicity", "true", "SUCCESS", MPI_File_set_atomicity(file, 1));
    MPI_File_get_atomicity(file, &is_atomic);
    saw("MPI_File_get_atomicity", "true: value", "1", "%d", is_atomic);
    /* What one rank writes, the others see with nothing but a message between them. */
    if (rank == 0) {
        value = 42;
        MPI_File_write_at(file, 0, &value, 1, MPI_INT, &status);
    }
    MPI_Barrier(MPI_COMM_WORLD);
    int code = MPI_File_read_at(file, 0, &value, 1, MPI_INT, &status);
    saw("MPI_File_set_atomicity", "seen at once", "SUCCESS 42", "%s %d", class_of(code), value);
    MPI_Barrier(MPI_COMM_WORLD);
    returned("MPI_File_set_atomicity", "false", "SUCCESS", MPI_File_set_atomicity(file, 0));
    MPI_File_close(&file);
    returned("MPI_File_get_atomicity", "of no file", "FILE", MPI_File_get_atomicity(MPI_FILE_NULL, &is_atomic));
    returned("MPI_File_set_atomicity", "of no file", "FILE", MPI_File_set_atomicity(MPI_FILE_NULL, 1));
}

/* A representation of four bytes for a number, every one turned over. */
static int invert(void *to, const void *from, MPI_Datatype type, int count, size_t step, MPI_Offset at) {
    (void)type;
    char *target = to;
    const char *source = from;
    for (size_t i = 0; i < (size_t)count * step; i++)
        target[i + step * 0] = (char)~source[i];
    (void)at;
    return MPI_SUCCESS;
}

static int to_memory(void *user, MPI_Datatype type, int count, void *file, MPI_Offset position, void *extra) {
    (void)extra;
    return invert((int *)user + position, file, type, count, sizeof(int), position);
}

static int to_file(void *user, MPI_Datatype type, int count, void *file, MPI_Offset position, void *extra) {
    (void)extra;
    return invert(file, (int *)user + position, type, count, sizeof(int), position);
}

static int extent_in_file(MPI_Datatype type, MPI_Aint *extent, void *extra) {
    int size;
    (void)extra;
    MPI_Type_size(type, &size);
    *extent = size;
    return MPI_SUCCESS;
}

void representations(void) {
    const char *function = "MPI_Register_datarep";
    MPI_File file = open_all("representations", MPI_MODE_CREATE | MPI_MODE_RDWR);
    MPI_Status status;
    unsigned char bytes[4] = {0};
    int value = 0x01020304, read = 0;
    int code = MPI_File_set_view(file, 0, MPI_INT, MPI_INT, "external32", MPI_INFO_NULL);
    returned("MPI_File_set_view", "external32", "SUCCESS", code);
    code = MPI_File_write_at_all(file, 0, &value, rank == 0, MPI_INT, &status);
    returned("MPI_File_write_at_all", "external32", "SUCCESS", code);
    code = MPI_File_read_at_all(file, 0, &read, 1, MPI_INT, &status);
    saw("MPI_File_read_at_all", "external32", "SUCCESS 1", "%s %d", class_of(code), read == value);
    MPI_File_set_view(file, 0, MPI_BYTE, MPI_BYTE, "native", MPI_INFO_NULL);
    MPI_File_read_at_all(file, 0, bytes, 4, MPI_BYTE, &status);
    saw("MPI_File_write_at_all", "external32: bytes", "1 2 3 4", "%d %d %d %d", bytes[0], bytes[1], bytes[2], bytes[3]);
    code = MPI_Register_datarep("turned", to_memory, to_file, extent_in_file, NULL);
    returned(function, "new", "SUCCESS", code);
    returned(function, "the same again", "DUP_DATAREP", MPI_Register_datarep("turned", to_memory, to_file, extent_in_file, NULL));
    returned(function, "one of MPI's", "DUP_DATAREP", MPI_Register_datarep("native", to_memory, to_file, extent_in_file, NULL));
    code = MPI_File_set_view(file, 0, MPI_INT, MPI_INT, "turned", MPI_INFO_NULL);
    returned(function, "in a view", "SUCCESS", code);
    if (code == MPI_SUCCESS) {
        MPI_File_write_at_all(file, 0, &value, rank == 0, MPI_INT, &status);
        settle(file);
        read = 0;
        code = MPI_File_read_at_all(file, 0, &read, 1, MPI_INT, &status);
        saw(function, "read back", "SUCCESS 1", "%s %d", class_of(code), read == value);
        MPI_File_set_view(file, 0, MPI_BYTE, MPI_BYTE, "native", MPI_INFO_NULL);
        MPI_File_read_at_all(file, 0, bytes, 4, MPI_BYTE, &status);
        saw(function, "bytes", "251 252 253 254", "%d %d %d %d", bytes[0], bytes[1], bytes[2], bytes[3]);
    }
#if HAS_LARGE_COUNTS
    returned("MPI_Register_datarep_c", "new", "SUCCESS",
             MPI_Register_datarep_c("large", MPI_CONVERSION_FN_NULL_C, MPI_CONVERSION_FN_NULL_C, extent_in_file, NULL));
    returned("MPI_Register_datarep_c", "the same again", "DUP_DATAREP",
             MPI_Register_datarep_c("large", MPI_CONVERSION_FN_NULL_C, MPI_CONVERSION_FN_NULL_C, extent_in_file, NULL));
#endif
    MPI_File_close(&file);
}
