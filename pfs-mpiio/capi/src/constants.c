/* Constants of MPI's header that are expressions of C, and so have no form in the bindings. */
#include <mpi.h>

const MPI_Datatype PFS_MPIIO_BYTE = MPI_BYTE;
