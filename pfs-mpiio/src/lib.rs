//! MPI-IO over rsmpi.
